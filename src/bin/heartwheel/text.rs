//! A text message that is escaped piece by piece while it is written. It never exists whole in its
//! longer form.

use std::fmt::Write;

use crate::output::Form;
use crate::values::{escape_into, escape_json};

/// A line, or a JSON object, with a text of any length.
///
/// A hostile text of control characters alone would become four to seven times as long by its
/// escapes. So it is cut when escapes of more than three times their character's length have
/// reached [`MOST_ESCAPES`]. No text for people has so many. The line says that it was cut.
pub(crate) struct LongText<T> {
    text: T,
    /// Bytes of it that are written.
    place: usize,
    form: Form,
    /// Bytes that long escapes may still take.
    room: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Within,
    Over,
}

impl<T: AsRef<str>> LongText<T> {
    /// `is_whole` has it written to its end, whatever it consists of.
    pub(crate) fn new(form: Form, text: T, is_whole: bool) -> Self {
        Self {
            text,
            place: 0,
            form,
            room: if is_whole { usize::MAX } else { MOST_ESCAPES },
            stage: Stage::Before,
        }
    }

    /// Returns the bytes of the text.
    pub(crate) fn len(&self) -> usize {
        self.text.as_ref().len()
    }

    /// Adds the next piece; says whether it was the last one.
    pub(crate) fn write_piece(&mut self, out: &mut String) -> bool {
        let enough = out.len() + PIECE;
        if self.stage == Stage::Before {
            self.begin(out);
            self.stage = Stage::Within;
        }
        let text = self.text.as_ref();
        for letter in text[self.place..].chars() {
            if out.len() >= enough {
                return false;
            }
            let before = out.len();
            match self.form {
                Form::Json => escape_json(letter, out),
                Form::Lines | Form::Quiet => escape_into(letter, out),
            }
            let taken = out.len() - before;
            if taken > 3 * letter.len_utf8() {
                let Some(room) = self.room.checked_sub(taken) else {
                    out.truncate(before);
                    break;
                };
                self.room = room;
            }
            self.place += letter.len_utf8();
        }
        if self.stage == Stage::Within {
            self.end(out);
            self.stage = Stage::Over;
        }
        true
    }

    fn begin(&self, out: &mut String) {
        // Writing to a string does not fail.
        match self.form {
            Form::Json => write!(
                out,
                "{{\"event\":\"message\",\"kind\":\"text\",\"len\":{},\"text\":\"",
                self.len()
            ),
            Form::Lines | Form::Quiet => out.write_str("< "),
        }
        .ok();
    }

    fn end(&self, out: &mut String) {
        let (shown, all) = (self.place, self.len());
        // Writing to a string does not fail.
        match self.form {
            Form::Json if shown < all => writeln!(out, "\",\"shown\":{shown}}}"),
            Form::Json => writeln!(out, "\"}}"),
            _ if shown < all => writeln!(out, " .. ({shown} of {all} bytes; --whole shows all)"),
            _ => writeln!(out),
        }
        .ok();
    }
}

/// Bytes that are written at once, but for what its last letter adds.
const PIECE: usize = 16 * 1024;

/// Bytes of long escapes in one text.
const MOST_ESCAPES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Returns what is written of a text, and the longest piece of it.
    fn written(form: Form, text: &str, is_whole: bool) -> (String, usize) {
        let mut long = LongText::new(form, text, is_whole);
        let (mut all, mut longest) = (String::new(), 0);
        loop {
            let mut piece = String::new();
            let is_last = long.write_piece(&mut piece);
            longest = longest.max(piece.len());
            all.push_str(&piece);
            if is_last {
                return (all, longest);
            }
        }
    }

    fn every_letter() -> String {
        ('\0'..=char::MAX).collect()
    }

    #[test]
    fn a_program_reads_every_letter_again() {
        let text = every_letter();
        let (json, longest) = written(Form::Json, &text, false);
        assert!(json.is_ascii() && json.ends_with("}\n"));
        assert!(longest <= PIECE + 200, "{longest}");
        let object: Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(object["event"], "message");
        assert_eq!(object["len"], text.len());
        assert_eq!(object["text"], text.as_str());
        assert_eq!(object["shown"], Value::Null);
    }

    #[test]
    fn a_person_sees_one_line_without_a_control_character() {
        let (line, longest) = written(Form::Lines, &every_letter(), true);
        let inner = line.strip_suffix('\n').expect("it is a line");
        assert!(!inner.chars().any(char::is_control));
        assert!(!inner.contains(['\u{202e}', '\u{2066}', '\u{feff}']));
        assert!(longest <= PIECE + 200, "{longest}");
        assert_eq!(written(Form::Lines, "it's", false).0, "< it's\n");
    }

    #[test]
    fn a_flood_of_control_characters_is_cut_and_said_to_be() {
        let flood = "\x01".repeat(MOST_ESCAPES);
        let (line, _) = written(Form::Lines, &flood, false);
        assert!(line.len() < MOST_ESCAPES + 100, "{}", line.len());
        let shown = MOST_ESCAPES / r"\u{1}".len();
        let end = format!(
            " .. ({shown} of {} bytes; --whole shows all)\n",
            flood.len()
        );
        assert!(line.ends_with(&end), "{}", &line[line.len() - 100..]);

        let (json, _) = written(Form::Json, &flood, false);
        let object: Value = serde_json::from_str(&json).expect("it is JSON");
        let text = object["text"].as_str().expect("it has a text");
        assert_eq!(object["shown"], text.len());
        assert_eq!(object["len"], flood.len());
        assert_eq!(text.len(), MOST_ESCAPES / 6);

        let (whole, _) = written(Form::Json, &flood, true);
        assert!(whole.len() > 6 * flood.len());
    }

    #[test]
    fn text_for_people_is_never_cut() {
        for letters in ["я", "語", "😀", "\n", "\""] {
            let text = letters.repeat(MOST_ESCAPES / 2);
            for form in [Form::Lines, Form::Json] {
                let (shown, _) = written(form, &text, false);
                assert!(!shown.contains("shown") && !shown.contains("--whole"));
                assert!(shown.len() <= 3 * text.len() + 100);
            }
        }
    }
}
