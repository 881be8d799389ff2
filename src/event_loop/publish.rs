//! Publishing: a message for all that subscribe to a topic.
//!
//! To a few subscribers it is sent at once, like messages that a handler sends one by one. To many it is a
//! broadcast, which turns hand out in pieces.

use super::core::EventLoop;
use super::delivery::{BroadcastDone, BroadcastId};
use super::lane::Publication;
use super::token::ConnId;
use super::topics::TopicKey;
use super::turn::{COMMANDS, COMMANDS_SLICE};
use crate::error::{SendError, SubscribeError};
use crate::proto::message::SharedMessage;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Has a connection subscribe to a topic, from the next message on.
    pub(super) fn subscribe(&mut self, id: ConnId, name: &str) -> Result<bool, SubscribeError> {
        let is_open = self.conn(id).is_some_and(|conn| conn.is_open());
        if !is_open {
            return Err(SubscribeError::Closed);
        }
        let (key, len) = (id.index(), name.len());
        if len > NAME {
            return Err(SubscribeError::TooLong { len, limit: NAME });
        }
        if !self.topics.has(key, name) {
            if self.topics.count_of(key) >= TOPICS {
                return Err(SubscribeError::TooMany { limit: TOPICS });
            }
            if self.topics.shared_with(key, name) > NAMES {
                return Err(SubscribeError::NamesTooLong { limit: NAMES });
            }
        }
        let next = self.broadcasts.next_id();
        let is_new = self.topics.subscribe(key, name, next);
        if is_new {
            self.relieve();
        }
        self.siblings.note_topics(!self.topics.is_empty());
        // It may be the one that held most.
        match self.topics.has(key, name) {
            true => Ok(is_new),
            false => Err(SubscribeError::Closed),
        }
    }

    /// Takes a connection out of a topic. What was published before is queued for it now.
    pub(super) fn unsubscribe(&mut self, id: ConnId, name: &str) -> bool {
        let (Some(topic), true) = (self.topics.find(name), self.conn(id).is_some()) else {
            return false;
        };
        let key = id.index();
        if self.broadcasts.has_topics() && self.topics.has(key, name) && self.settle_broadcasts(key)
        {
            self.mark_touched(id);
        }
        let was_there = self.topics.unsubscribe(key, topic);
        self.siblings.note_topics(!self.topics.is_empty());
        was_there
    }

    /// Takes a connection that can get nothing more out of its topics.
    pub(super) fn leave_topics(&mut self, key: usize) {
        if self.topics.is_empty() || self.topics.count_of(key) == 0 {
            return;
        }
        if self.broadcasts.has_topics() {
            self.hand_out(key, None);
        }
        self.topics.forget(key);
        self.siblings.note_topics(!self.topics.is_empty());
    }

    /// Returns how many subscribers a topic has in this loop.
    pub(super) fn subscribers(&self, name: &str) -> usize {
        let topic = self.topics.find(name);
        topic.map_or(0, |topic| self.topics.len_of(topic))
    }

    /// Publishes a message in all loops of the group, or in none if there is no room.
    pub(super) fn publish(
        &mut self,
        name: &str,
        message: &SharedMessage,
        except: Option<ConnId>,
    ) -> Result<BroadcastId, SendError> {
        if self.subscribers(name) > AT_ONCE {
            self.broadcasts.check_room(message)?;
        }
        self.siblings.look_around(&self.group);
        if self.siblings.any_subscribed() {
            self.siblings.check_room(name, message)?;
            self.siblings.publish(&Publication {
                topic: self.topics.name(name),
                message: message.clone(),
                except,
            });
            self.inbox.note_congestion(self.siblings.is_full());
        }
        Ok(self.publish_here(name, message, except))
    }

    /// Publishes a message of another thread. Those that its queue holds find room.
    pub(super) fn publish_for(&mut self, publication: Publication) {
        self.siblings.look_around(&self.group);
        self.siblings.publish(&publication);
        self.inbox.note_congestion(self.siblings.is_full());
        let Publication {
            topic,
            message,
            except,
        } = publication;
        self.publish_here(&topic, &message, except);
    }

    /// Publishes what other loops of the group have published, a limited number of messages in each turn.
    pub(super) fn take_published(&mut self) {
        let ends = self.progress.slice(self.now.at, COMMANDS_SLICE);
        for _ in 0..COMMANDS {
            if self.broadcasts.is_full() || self.is_past(ends) {
                return;
            }
            let Some(publication) = self.siblings.lane().next() else {
                return;
            };
            let (topic, message) = (&publication.topic, &publication.message);
            self.publish_here(topic, message, publication.except);
        }
    }

    /// Passes on to the other loops what was published here.
    pub(super) fn pass_on(&mut self) {
        self.siblings.pass_on(self.now.at);
        self.inbox.note_congestion(self.siblings.is_full());
    }

    /// Passes on what it can, because the loop ends.
    pub(super) fn pass_on_last(&mut self) {
        if self.siblings.has_any() {
            self.pass_on();
        }
        if self.siblings.has_any() {
            log::warn!("another loop has no room for what was published before the end");
        }
    }

    /// Publishes a message in this loop. Whether there is room has been checked.
    fn publish_here(
        &mut self,
        name: &str,
        message: &SharedMessage,
        except: Option<ConnId>,
    ) -> BroadcastId {
        let topic = self.topics.find(name);
        let count = topic.map_or(0, |topic| self.topics.len_of(topic));
        if let Some(topic) = topic
            && count > AT_ONCE
        {
            let message = message.clone();
            return self.broadcasts.begin_for(topic, count, message, except);
        }
        let mut done = self.broadcasts.number();
        if let Some(topic) = topic {
            self.send_to_members(topic, message, except, &mut done);
        }
        self.broadcasts.finish(done);
        done.id
    }

    fn send_to_members(
        &mut self,
        topic: TopicKey,
        message: &SharedMessage,
        except: Option<ConnId>,
        done: &mut BroadcastDone,
    ) {
        // A send may end a connection whose subscriptions take most, and it leaves the topic.
        let members = self.topics.take_members(topic);
        for (index, &key) in members.iter().enumerate().rev() {
            if index > 0 {
                self.prefetch_conn(key, members[index - 1]);
            }
            let Some(conn) = self.conns.get(key).filter(|conn| conn.is_open()) else {
                continue;
            };
            let id = conn.id(key, self.names);
            if except == Some(id) {
                continue;
            }
            self.settle_broadcasts(key);
            let sent = self.send_shared(key, message);
            done.count(&sent);
            if let Err(error) = sent {
                log::debug!("{id}: left out of a topic: {error}");
            }
            self.mark_touched(id);
        }
        self.topics.give_members(members);
    }
}

/// Most bytes of a topic's name, and most topics of one connection: its end takes it out of all of them in one
/// turn.
const NAME: usize = 65_535;
const TOPICS: usize = 16_384;

/// Most bytes that the topics of one connection may take: room for 16 384 names of 350 bytes, not for as many of
/// the longest, which would be a gigabyte.
const NAMES: usize = 8 * 1024 * 1024;

/// Most subscribers to which a message is sent at once. That takes some 100 µs.
const AT_ONCE: usize = 256;
