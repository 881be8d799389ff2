//! HTTP to the letter: every MUST and MUST NOT of RFC 9110 (semantics) and RFC 9112 (HTTP/1.1) that concerns
//! a server or a client which only ever upgrades to WebSocket, or answers plain requests with bodies of a known length.
//!
//! What RFC 6455 itself demands of heads is in `tests/rfc6455`. Beside these there are the unit tests of
//! `src/proto/http`, which go into each part; what a parser alone decides is tested only there, under the
//! name of its section where the table needs it.
//!
//! The last test here holds this table to the tests there are.
//!
//! | section | it demands | tests |
//! | --- | --- | --- |
//! | 9110, 4.2.4 | user information MUST NOT be sent, and is an error in a reference | s9110_4_2_4_a_user_in_a_url_is_neither_sent_nor_followed |
//! | 9110, 5.3 | one line for a field with a single value | s9110_5_3_a_field_with_a_single_value_is_sent_once |
//! | 9110, 5.5 | CR, LF and NUL in a value MUST be refused or replaced | s9110_5_5_a_value_with_a_control_character_is_refused |
//! | 9110, 5.6.1 | empty elements of lists MUST be parsed, and MUST NOT be sent | s9110_5_6_1_empty_elements_of_lists_mean_nothing |
//! | 9110, 5.6.7 | three forms of dates MUST be read, one sent | s9110_5_6_7_dates_are_read_in_three_forms_and_sent_in_one |
//! | 9110, 6.6.1 | a server with a clock MUST send Date with 2xx, 3xx and 4xx | s9110_6_6_1_every_response_bears_the_date |
//! | | | s9110_6_6_1_a_refusal_before_the_request_bears_it_too |
//! | | | s9110_6_6_1_a_request_that_came_too_late_is_answered_with_it |
//! | | | s9110_6_6_1_a_date_of_the_handler_stands_alone |
//! | 9110, 7.2 | a client MUST send Host | s9110_7_2_the_host_is_what_is_dialed_or_what_is_asked_for |
//! | 9110, 7.6.1; 7.8 | who sends Upgrade MUST send the connection option | s9110_7_8_upgrade_comes_with_its_connection_option |
//! | 9110, 7.8 | Upgrade in HTTP/1.0 MUST be ignored | s9110_7_8_upgrade_is_ignored_in_http_1_0 |
//! | | a server MUST NOT switch to what was not asked for | s9110_7_8_only_what_was_asked_for_is_switched_to |
//! | 9110, 8.6 | no Content-Length with 1xx and 204 | s9110_8_6_responses_without_content_announce_none |
//! | 9110, 9.3.2 | no content in the answer to HEAD | s9110_9_3_2_the_answer_to_head_is_a_head |
//! | 9110, 10.1.1 | 100 or a final status MUST answer who waits for it | s9110_10_1_1_who_waits_for_word_before_a_body_gets_it_once |
//! | 9110, 10.2.1; 15.5.6 | 405 MUST name the methods | s9110_15_5_6_405_names_the_methods |
//! | 9110, 10.2.3 | Retry-After is seconds or a date | s9110_10_2_3_a_client_comes_back_after_the_seconds_or_at_the_date |
//! | 9110, 15.2 | a client MUST parse interim responses | s9110_15_2_interim_responses_are_read_and_passed_over |
//! | | | s9110_15_2_endless_interim_responses_end_at_the_limit_of_a_head |
//! | 9110, 15.3.6 | no content with 205 | s9110_15_3_6_205_has_no_content |
//! | 9110, 15.4; 10.2.2 | Location is relative to what was asked for; circles are detected | s9110_15_4_a_redirect_stops_a_client_and_names_the_address |
//! | | | s9110_15_4_a_redirect_is_followed_where_it_is_asked_for |
//! | | | s9110_15_4_a_circle_of_redirects_comes_to_an_end |
//! | | | s9110_15_4_credentials_go_to_the_origin_they_were_given_for |
//! | | | s9110_15_4_other_statuses_of_3xx_are_final |
//! | | | s9110_15_4_who_is_stopped_follows_no_more |
//! | 9110, 15.5.22 | 426 MUST name the protocol | s9110_15_5_22_426_names_the_protocol |
//! | 9112, 2.2 | empty lines before a request are ignored | s9112_2_2_empty_lines_before_a_request_are_ignored |
//! | | a bare CR MUST be refused or replaced; so MUST blanks before the first field | s9112_2_2_bare_line_ends_and_blanks_before_the_first_field_are_refused |
//! | | a head is read whatever its pieces | s9112_2_2_a_head_of_single_bytes_is_read_and_its_limit_holds |
//! | 9112, 3 | 414 MUST answer a target that is too long | s9112_3_a_target_that_is_too_long_is_answered_with_414 |
//! | 9112, 3.2 | 400 MUST answer a request without one sound Host | s9112_3_2_a_request_names_one_sound_host |
//! | 9112, 3.2.2 | an absolute target MUST be accepted, and Host be ignored then | s9112_3_2_2_an_absolute_target_is_accepted_whatever_host_says |
//! | 9112, 4 | the blank before a reason that is left out MUST be sent | s9112_4_the_status_line_has_its_blank_without_a_reason |
//! | 9112, 5.1 | 400 MUST answer a blank before the colon | s9112_5_1_a_blank_before_the_colon_is_refused |
//! | 9112, 5.2 | a server MUST refuse or unfold, a client MUST unfold | s9112_5_2_a_folded_field_is_refused_in_a_request |
//! | | | s9112_5_2_a_folded_field_is_unfolded_in_a_response |
//! | 9112, 6.1, 6.3 | lengths that contradict themselves MUST be refused, and the connection closed | s9112_6_3_a_length_that_contradicts_itself_is_refused |
//! | 9112, 6.3, 1 | a response of 1xx ends at its empty line | s9112_6_3_a_101_ends_at_its_empty_line_whatever_it_says_of_a_body |
//! | 9112, 6.2 | a body MUST be as long as Content-Length says | s9112_6_2_a_body_is_as_long_as_its_head_says |
//! | 9112, 6.1, 6.3; 9110, 15.5.12, 15.5.14 | 400 MUST, 411, 413 or 501 may answer a body that is not read, and the connection ends | s9112_6_3_a_body_beyond_its_limit_or_of_unknown_length_is_the_last |
//! | 9112, 9.3 | a connection MUST go on or end as both sides say | s9112_9_3_a_connection_goes_on_unless_a_side_says_otherwise |
//! | | | s9112_9_3_an_upgrade_may_follow_a_plain_request |
//! | | | s9112_9_3_a_connection_has_only_so_many_requests |
//! | 9112, 9.3.2 | pipelined requests MUST be answered in their order | s9112_9_3_2_pipelined_requests_are_answered_in_their_order |
//! | | | s9112_9_3_2_who_does_not_take_an_answer_gets_one_more |
//! | 9112, 9.5 | a server that no longer waits SHOULD end the connection | s9112_9_5_who_asks_for_nothing_more_is_let_go_in_silence |
//! | | | s9112_9_5_half_a_second_request_is_answered_with_408 |
//! | 9112, 9.3, 9.6 | who closes MUST say so, and MUST NOT look at a further request | s9112_9_6_a_response_says_that_it_is_the_last_and_is |
//!
//! What does not concern us:
//!
//! | section | why |
//! | --- | --- |
//! | 9110, 7.3 to 7.7; 9112, 3.2.3 | gateways, proxies and tunnels: we are none |
//! | 9110, 8, 12, 13, 14; RFC 9111 | representations, negotiation, conditions, ranges, caches: what a handler answers is its own |
//! | 9110, 11, 15.5.2, 15.5.8 | a handler that answers 401 or 407 names the scheme itself |
//! | 9112, 7 | transfer codings: 6.3 lets a server refuse a body without Content-Length with 411 |
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod dates;
mod exchanges;
mod fields;
mod messages;
mod redirects;
mod statuses;
mod upgrades;

/// The table and the tests name each other.
#[test]
fn every_test_stands_in_the_table_and_every_line_of_it_is_a_test() {
    support::table::assert_complete("tests/http", 4..=4, 30);
}

/// A request to upgrade, with more lines.
fn upgrade(more: &str) -> Vec<u8> {
    support::bytes::upgrade_request("/", more)
}

/// What a client of ours fails with at this answer, dialing once.
#[track_caller]
fn failure_at(answer: &[u8]) -> heartwheel::reactor::DialError {
    use std::io::Write;

    use heartwheel::reactor::ClientEvent;

    let mut dialer = support::sides::Dialer::new();
    let (mut peer, _) = dialer.accept();
    peer.write_all(answer).unwrap();
    dialer.turning.drive(|seen| seen.rejected().len() == 1);
    let failed = dialer.events().into_iter().find_map(|event| match event {
        ClientEvent::Failed { error } => Some(error),
        _ => None,
    });
    failed.unwrap()
}
