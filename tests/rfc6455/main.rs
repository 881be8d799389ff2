//! RFC 6455 to the letter: every MUST and MUST NOT that concerns a server or a client, tested under the
//! name of its section.
//!
//! Rules of frames and phases are tested on sessions and virtual time, in both roles; rules of TCP on
//! real sockets, where the other side writes and reads bytes of its own. Beside these there are the unit
//! tests of `src/proto/websocket` and `src/proto/session`, which go into each part; what a parser alone
//! decides is tested only there, under the name of its section where the table needs it.
//!
//! The last test here holds this table to the tests there are.
//!
//! | section | it demands | tests |
//! | --- | --- | --- |
//! | 3 | the port is optional and 80 by default; the resource name is path and query, `/` if empty | s3_the_port_is_optional_and_80_by_default |
//! | | | s3_the_resource_name_is_the_path_and_query_and_never_empty |
//! | | | s3_the_host_is_sent_as_the_uri_names_it |
//! | 3 | fragments MUST NOT be used; `#` MUST be escaped | s3_fragments_must_not_be_used |
//! | | | s3_a_number_sign_must_be_escaped |
//! | 3 | a `wss` URI is spoken through TLS or not at all | s3_a_secure_uri_is_not_spoken_in_the_clear |
//! | 4.1 | invalid URI: MUST fail | s3_what_is_not_a_valid_uri_is_not_dialed |
//! | 4.1 | no more than one connection in a CONNECTING state | s4_1_only_one_connection_at_a_time_is_connecting_to_an_address |
//! | | | s4_1_who_waits_for_its_turn_can_be_stopped |
//! | | | s4_1_a_load_generator_may_connect_all_at_once |
//! | 4.1 | a connection that cannot be opened: MUST fail | s4_1_a_connection_that_cannot_be_made_fails |
//! | | | s4_1_the_end_of_tcp_before_the_response_fails |
//! | 4.1, request 1 to 6, 9 | valid HTTP, GET, 1.1 or higher, resource name, Host, Upgrade, Connection, version 13 | s4_1_the_request_is_a_valid_get_of_http_1_1 |
//! | | | s4_1_each_field_that_is_demanded_is_sent_once |
//! | 4.1, request 7 | a nonce of 16 bytes, random for each connection | s4_1_the_key_is_16_random_bytes_fresh_for_each_connection |
//! | 4.1, request 10 | subprotocols are non-empty, of token characters, unique | s4_1_subprotocols_are_unique_tokens |
//! | 4.1 | MUST wait for the response before sending more | s4_1_nothing_is_sent_between_the_request_and_the_response |
//! | 4.1, response | a response that does not conform MUST fail, one that does is taken | s4_1_the_sample_response_is_taken_however_its_case_and_blanks |
//! | | | s4_1_a_response_that_is_not_http_fails |
//! | | | s4_1_a_body_that_the_response_announces_is_none |
//! | | | s4_1_a_response_beyond_the_limits_fails |
//! | | | s4_1_a_response_may_arrive_in_any_two_pieces |
//! | | | s4_1_frames_in_the_segment_of_the_response_are_read |
//! | 4.1, response 1 | a status other than 101 opens nothing | s4_1_a_status_other_than_101_opens_nothing |
//! | 4.1, response 2 | Upgrade is websocket | s4_1_a_response_without_upgrade_to_websocket_fails |
//! | 4.1, response 3 | Connection has Upgrade | s4_1_a_response_without_connection_upgrade_fails |
//! | 4.1, response 4 | the accept value answers the key | s4_1_a_response_that_does_not_answer_the_key_fails |
//! | 4.1, response 5 | no extension that was not asked for | s4_1_an_extension_that_was_not_asked_for_fails |
//! | 4.1, response 6 | no subprotocol that was not asked for | s4_1_a_subprotocol_that_was_not_asked_for_fails |
//! | 4.2.1 | whatever does not match, the grammar included, MUST be answered by an error | s4_2_1_the_sample_of_section_1_2_is_accepted |
//! | | | s4_2_1_whatever_violates_the_grammar_of_http_is_answered_with_400 |
//! | | | s4_2_1_a_request_that_could_smuggle_another_is_answered_with_400 |
//! | | | s4_2_1_a_head_beyond_its_limits_is_answered_with_431 |
//! | | | s4_2_1_a_plain_request_needs_its_host_too |
//! | | | s4_2_1_a_request_may_arrive_in_any_two_pieces |
//! | | | s4_2_1_frames_in_the_segment_of_the_request_are_read |
//! | 4.2.1, 1 | GET, HTTP/1.1 or higher (there is none), a Request-URI | s4_2_1_the_method_is_get |
//! | | | s4_2_1_the_version_is_http_1_1 |
//! | | | s4_2_1_the_target_is_a_resource_name_or_an_absolute_uri |
//! | 4.2.1, 2 | Host | s4_2_1_host_is_there_once_and_is_an_authority |
//! | 4.2.1, 3 and 4 | Upgrade and Connection, lists of tokens, ASCII case aside | s4_2_1_upgrade_names_websocket |
//! | | | s4_2_1_connection_names_upgrade |
//! | 4.2.1, 5 | a key of 16 bytes in base64 | s4_2_1_the_key_is_16_bytes_in_base64 |
//! | 4.2.1, 7 | Origin is optional | s4_2_1_an_origin_is_no_must_and_is_shown_to_the_handler |
//! | | | s4_2_1_two_origins_are_none |
//! | 4.2.1, 8 to 10 | subprotocols; other fields are ignored, order does not matter | s4_2_1_subprotocols_are_unique_tokens |
//! | | | s4_2_1_other_fields_are_ignored_in_whatever_order |
//! | 4.2.2, 4 | an origin or service that is refused MUST be answered by a status | s4_2_2_who_is_not_welcome_is_answered_with_the_status_that_fits |
//! | 4.2.2, 4 and 5 | the subprotocol is one of those offered, or the field MUST NOT be sent | s4_2_2_the_subprotocol_is_one_of_those_offered_or_none |
//! | 4.2.2, 4 and 5 | only extensions that were offered | s4_2_2_extensions_are_declined_by_leaving_the_field_out |
//! | 4.2.2, 5 | 101, Upgrade, Connection, accept value; then the connection is open | s4_2_2_the_response_is_101_with_upgrade_connection_and_accept |
//! | | | s4_2_2_the_server_may_speak_right_behind_its_response |
//! | 4.2.1, 6; 4.2.2, 4; 4.4 | an unknown version MUST be answered by those we speak | s4_4_another_version_is_answered_with_the_one_we_speak |
//! | | | s4_4_a_client_that_comes_again_with_our_version_is_accepted |
//! | | | s4_4_the_version_stands_there_once |
//! | 5.1 | a client MUST mask all frames, a server MUST NOT | s5_1_a_client_masks_every_frame_and_a_server_none |
//! | 5.1 | the other side MUST close upon a frame that breaks this | s5_1_a_server_fails_at_a_frame_without_mask |
//! | | | s5_1_a_client_fails_at_a_frame_with_mask |
//! | | | s5_1_the_mask_bit_is_judged_before_anything_behind_it |
//! | | | s5_1_tcp_is_closed_upon_a_frame_that_is_masked_wrongly |
//! | | | s5_1_an_open_connection_stays_open_while_masks_are_right |
//! | 5.2 | reserved bits MUST be 0 | s5_2_reserved_bits_fail_the_connection |
//! | 5.2 | unknown opcodes MUST fail | s5_2_unknown_opcodes_fail_the_connection |
//! | | | s5_2_the_first_byte_is_judged_before_the_second_comes |
//! | 5.2 | the minimal number of bytes MUST be used; the top bit MUST be 0 | s5_2_a_length_in_more_bytes_than_it_needs_fails_the_connection |
//! | | | s5_2_a_64_bit_length_with_its_top_bit_fails_the_connection |
//! | | | s5_2_each_form_of_length_is_read_in_the_order_of_the_network |
//! | | | s5_2_we_write_each_length_in_the_fewest_bytes |
//! | | | s5_2_the_length_counts_the_payload_and_not_the_mask |
//! | 5.3, 10.3 | masks are fresh, unpredictable, of strong entropy | s5_3_each_frame_has_a_fresh_mask |
//! | | | s5_3_masks_follow_from_nothing_that_can_be_seen |
//! | | | s10_3_a_frame_under_way_is_not_changed_by_what_the_application_does |
//! | 5.3 | the transformation | s5_3_the_example_of_section_5_7_is_unmasked |
//! | | | s5_3_whatever_the_mask_and_the_pieces_the_payload_is_the_same |
//! | | | s5_3_masking_does_not_change_the_length |
//! | 5.4 | fragmented and whole messages MUST be supported | s5_4_a_message_in_one_frame_or_many_is_the_same |
//! | | | s5_4_fragments_may_be_empty |
//! | | | s5_4_the_type_is_that_of_the_first_fragment |
//! | | | s5_4_a_large_message_may_come_in_any_number_of_fragments |
//! | 5.4 | fragments MUST be sent in order and MUST NOT be interleaved with those of another message | s5_4_we_send_the_fragments_of_one_message_in_order_and_those_of_no_other_between |
//! | | | s5_4_a_message_within_another_fails_the_connection |
//! | | | s5_4_a_continuation_of_nothing_fails_the_connection |
//! | 5.4 | control frames between fragments MUST be handled, and MUST NOT be fragmented | s5_4_control_frames_between_fragments_are_handled_at_once |
//! | | | s5_4_control_frames_are_not_fragmented |
//! | 5.5 | control frames MUST have at most 125 bytes and MUST NOT be fragmented | s5_5_control_frames_longer_than_125_bytes_fail_the_connection |
//! | | | s5_5_control_frames_of_125_bytes_are_fine |
//! | | | s5_5_fragmented_control_frames_fail_the_connection |
//! | 5.5.1 | a body MUST begin with a code of two bytes; the reason is UTF-8 | s5_5_1_a_close_body_begins_with_a_code |
//! | | | s5_5_1_a_close_reason_is_utf_8 |
//! | 5.5.1 | MUST NOT send data behind a Close | s5_5_1_no_data_is_sent_behind_a_close |
//! | 5.5.1 | MUST answer a Close by a Close, after the message under way at the latest | s5_5_1_a_close_is_answered_by_one_close_with_its_code |
//! | | | s5_5_1_a_message_under_way_may_end_before_the_answer |
//! | | | s5_5_1_a_close_stands_at_a_border_of_frames_though_output_is_blocked |
//! | | | s5_5_1_closes_that_cross_are_not_answered |
//! | 5.5.1 | after both MUST close TCP, the server at once, the client after it | s5_5_1_who_has_sent_and_received_a_close_ends_tcp_the_server_at_once |
//! | 5.5.2 | MUST answer a Ping unless a Close was received | s5_5_2_a_ping_is_answered_by_a_pong_with_its_payload |
//! | | | s5_5_2_pings_are_answered_in_their_order |
//! | | | s5_5_2_a_ping_cut_anywhere_is_answered_when_it_is_whole |
//! | | | s5_5_2_a_ping_behind_a_close_is_not_answered |
//! | | | s5_5_2_a_ping_to_one_that_has_said_its_close_is_not_answered_behind_it |
//! | 5.5.3 | a Pong has the payload of its Ping, MAY stand for older ones, and is not answered | s5_5_3_only_the_newest_ping_is_answered_where_output_is_blocked |
//! | | | s5_5_3_an_unasked_pong_is_not_answered |
//! | | | s5_5_3_a_pong_settles_our_ping_by_its_payload |
//! | 5.6 | a whole text MUST be UTF-8, a fragment need not be; binary is any bytes | s5_6_text_is_utf_8_as_a_whole_though_a_fragment_need_not_be |
//! | | | s5_6_binary_is_any_bytes_and_its_meaning_is_the_applications |
//! | | | s5_6_text_is_sent_as_text_and_binary_as_binary |
//! | 6.1 | MUST be OPEN to send; opcode, FIN, order | s6_1_data_is_sent_only_while_the_connection_is_open |
//! | | | s6_1_the_first_frame_has_the_opcode_and_the_last_one_fin |
//! | | | s6_1_messages_leave_in_the_order_of_their_sends |
//! | 6.2 | incoming data MUST be parsed as frames; masks MUST be removed; the next frame is a new message | s6_2_whatever_the_pieces_frames_are_messages_in_their_order |
//! | | | s6_2_a_server_removes_the_mask |
//! | | | s6_2_what_a_finished_message_leaves_behind_is_not_in_the_next |
//! | 7.1.1 | TCP is closed cleanly, trailing bytes are discarded, the server goes first | s7_1_1_the_server_ends_tcp_first |
//! | | | s7_1_1_a_client_waits_for_the_servers_fin |
//! | | | s7_1_1_a_client_does_not_wait_for_ever |
//! | | | s7_1_1_bytes_behind_a_close_are_discarded |
//! | | | s7_1_1_the_answer_arrives_though_the_peer_talks_on_behind_its_close |
//! | | | s7_1_1_a_peer_that_ends_its_direction_behind_its_close_reads_the_answer |
//! | 7.1.2, 7.1.3 | closing MUST send code and reason; then the connection is closing | s7_1_2_closing_sends_the_code_and_the_reason |
//! | | | s7_1_3_the_closing_handshake_begins_with_the_first_close_either_way |
//! | | | s7_messages_on_their_way_when_we_close_are_not_delivered |
//! | | | s7_a_close_that_is_not_answered_is_given_up_in_time |
//! | | | s7_what_was_sent_before_the_close_arrives_before_it |
//! | | | s7_crossing_closes_end_clean_at_both_ends |
//! | 7.1.4 to 7.1.6 | clean or not, code and reason of the first Close received | s7_1_4_the_end_is_clean_if_the_closing_handshake_was_completed_and_only_then |
//! | | | s7_1_5_the_code_is_that_of_the_first_close_received |
//! | | | s7_1_6_the_reason_is_that_of_the_first_close_received |
//! | 7.1.7 | after a failure MUST NOT process data, an answering Close included | s7_1_7_what_fails_sends_a_close_and_looks_at_nothing_more |
//! | | | s7_1_7_a_failure_in_the_closing_handshake_ends_it |
//! | 7.2.1 | a client whose transport is lost MUST fail | s7_2_1_a_lost_connection_fails |
//! | | | s7_2_1_half_a_frame_and_the_end_is_a_lost_connection |
//! | 7.2.2, 7.2.3 | servers may close; clients come back with a random delay and backoff | s7_2_2_a_server_may_close_whenever_it_wishes |
//! | | | s7_2_3_a_client_comes_back_after_a_random_and_growing_delay |
//! | 7.4 | codes that MUST NOT stand in a Close frame | s7_4_each_of_the_65536_codes_is_taken_or_fails_the_connection |
//! | | | s7_4_a_code_that_must_not_be_sent_fails_the_connection |
//! | | | s7_4_1_codes_1005_1006_and_1015_are_never_sent |
//! | 8.1 | text that is not UTF-8 MUST fail | s8_1_text_that_is_not_utf_8_fails_the_connection |
//! | | | s8_1_it_fails_at_the_very_byte_within_an_unfinished_frame |
//! | | | s8_1_it_fails_at_the_very_fragment |
//! | | | s8_1_text_that_ends_within_a_character_fails_the_connection |
//! | | | s8_1_every_character_there_is_is_taken |
//! | | | s8_1_a_character_may_be_cut_by_any_border |
//! | 9.1 | a value that does not conform MUST fail; a server MUST NOT accept what was not asked for | s9_1_a_server_fails_at_extensions_that_do_not_conform |
//! | | | s9_1_a_server_accepts_none_of_those_that_do |
//! | | | s9_1_a_client_asks_for_none_and_fails_at_any |
//! | 10.2 | SHOULD verify Origin, and answer 403 where it is not acceptable | s10_2_a_page_of_another_origin_is_answered_403 |
//! | 10.4 | MUST protect themselves against exceeding their limits | s10_4_a_frame_beyond_the_limit_fails_at_its_header |
//! | | | s10_4_a_message_beyond_the_limit_fails_however_small_its_fragments |
//! | | | s10_4_a_length_that_is_only_claimed_costs_no_memory |
//! | 10.7 | incoming data MUST be validated | s10_7_invalid_data_is_told_by_a_code_that_fits |
//! | | | s10_7_invalid_data_in_the_handshake_is_told_by_a_status |
//! | 10.8 | the accept value | s10_8_only_the_hash_of_the_very_key_is_taken |
//! | 11.3 | fields that MUST NOT appear more than once | s11_3_1_the_key_stands_once_in_a_request |
//! | | | s11_3_2_extensions_may_stand_often_in_a_request_and_once_in_a_response |
//! | | | s11_3_3_the_accept_value_stands_once_in_a_response |
//! | | | s11_3_4_subprotocols_may_stand_often_in_a_request_and_once_in_a_response |
//! | | | s11_3_5_the_version_stands_once_in_a_request_and_in_a_refusal |
//!
//! What does not concern us:
//!
//! | section | why |
//! | --- | --- |
//! | 4.1, TLS and proxies; 4.2.2, 1; 10.6 | both lie below the WebSocket: `tls_layer.rs`, `secure.rs` and `embedding/proxies.rs` test them |
//! | 4.1, request 8 | a MUST for browsers; others may name an origin, and may be refused for it |
//! | 4.2.2, 2 and 3 | authentication and redirects are MAY; a handler answers with any status and headers |
//! | 5.4 | intermediaries MUST NOT change fragments: we are none |
//! | 5.5.1 | the reason MUST NOT be shown to end users: it is in evidence and logs, escaped, for operators |
//! | 5.8, 9.2 | extensions: without one every reserved bit and opcode fails; compression has its own tests |
//! | 7.4.1, code 1010 | for clients that need an extension; code 1015 comes with TLS |
//! | 11, 13 | registries and IANA |
//!
//! Where the RFC leaves a choice, or says two things:
//!
//! - A Ping that comes after our own Close is not answered. 5.5.2 would have it answered until the peer's
//!   Close is there, 1.4 has a peer "not send any further data" behind its Close, and who has read a Close
//!   discards what follows it; a Close stays our last word.
//! - 4.1 speaks of "the remote host (IP address) identified by /host/ and port /port/" and then of "the same
//!   IP address": connections are serialized by address and port, as browsers do it.
//! - An HTTP/1.2 would be "1.1 or higher"; there is none, and HTTP/2 has an opening handshake of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

mod peer;
#[expect(dead_code, reason = "responses are for the tests beside the parser")]
#[path = "../../src/proto/http/samples.rs"]
mod samples;
#[path = "../support/mod.rs"]
mod support;
mod wire;

mod s10_security;
mod s11_header_fields;
mod s3_uris;
mod s4_1_client_opening;
mod s4_2_server_opening;
mod s4_4_versions;
mod s5_1_masking;
mod s5_2_base_framing;
mod s5_3_client_to_server_masking;
mod s5_4_fragmentation;
mod s5_5_control_frames;
mod s5_6_data_frames;
mod s6_sending_and_receiving;
mod s7_closing;
mod s8_errors;
mod s9_extensions;

/// The table and the tests name each other.
#[test]
fn every_test_stands_in_the_table_and_every_line_of_it_is_a_test() {
    support::table::assert_complete("tests/rfc6455", 1..=2, 100);
}
