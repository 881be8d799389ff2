//! What the shell keeps with a session that few of its connections need, such as a layer between socket
//! and session: a word of its own would make every slot larger.

use std::any::Any;

use super::Session;
use crate::proto::time::Moment;

impl Session {
    /// Keeps something of the shell's with the session, in place of what it kept before.
    pub fn keep_aside(&mut self, now: Moment, thing: Box<dyn Any + Send>) {
        self.rare_mut(now).aside = Some(thing);
    }

    /// Returns what is [kept](Self::keep_aside), if it is of this type.
    pub fn aside<T: Any>(&self) -> Option<&T> {
        self.rare.as_ref()?.aside.as_ref()?.downcast_ref()
    }

    /// Returns what is [kept](Self::keep_aside), to change it.
    pub fn aside_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.rare.as_mut()?.aside.as_mut()?.downcast_mut()
    }

    /// Takes what is [kept](Self::keep_aside) out for a while. Give it [back](Self::give_aside).
    pub fn take_aside(&mut self) -> Option<Box<dyn Any + Send>> {
        self.rare.as_mut()?.aside.take()
    }

    /// Gives back what was [taken](Self::take_aside).
    pub fn give_aside(&mut self, thing: Option<Box<dyn Any + Send>>) {
        if let Some(rare) = &mut self.rare {
            rare.aside = thing;
        }
    }
}
