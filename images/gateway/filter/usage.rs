//! The tokens that an answer tells of, found in the bytes that pass by, whole answers and streams alike.
//!
//! A quotation mark inside a JSON text is always escaped, so `"usage":{` is the key and never something that the
//! model wrote. Of several the last counts: streams repeat them with growing numbers.

use crate::text::find;

const KEY: &[u8] = b"\"usage\"";
/// More is not kept of a `usage` that is cut in two; vLLM's are a tenth of it.
const LONGEST: usize = 4096;

/// What has been told so far.
#[derive(Default)]
pub struct Usage {
    pub prompt: Option<u64>,
    pub completion: Option<u64>,
    /// The end of the last piece, as far as a `usage` may have begun there.
    rest: Vec<u8>,
}

impl Usage {
    /// Look at the next piece of an answer.
    pub fn scan(&mut self, piece: &[u8]) {
        if self.rest.is_empty() {
            self.look(piece);
        } else {
            let mut joined = std::mem::take(&mut self.rest);
            joined.extend_from_slice(piece);
            self.look(&joined);
        }
    }

    fn look(&mut self, mut text: &[u8]) {
        while let Some(at) = find(text, KEY) {
            text = &text[at..];
            match object(&text[KEY.len()..]) {
                Found::Object(object) => self.take(object),
                Found::CutOff if text.len() < LONGEST => {
                    self.rest = text.to_vec();
                    return;
                }
                _ => {}
            }
            text = &text[KEY.len()..];
        }
        let end = &text[text.len().saturating_sub(KEY.len() - 1)..];
        if let Some(at) = (0..end.len()).find(|at| KEY.starts_with(&end[*at..])) {
            self.rest = end[at..].to_vec();
        }
    }

    fn take(&mut self, object: &[u8]) {
        let number = |names: [&[u8]; 2]| names.iter().find_map(|name| number(object, name));
        self.prompt = number([b"\"prompt_tokens\"", b"\"input_tokens\""]).or(self.prompt);
        self.completion = number([b"\"completion_tokens\"", b"\"output_tokens\""]).or(self.completion);
    }
}

enum Found<'a> {
    Object(&'a [u8]),
    Another,
    CutOff,
}

/// What follows a key: an object, another value, or not enough to tell.
fn object(text: &[u8]) -> Found<'_> {
    let text = match after(text, b':').and_then(|text| after(text, b'{')) {
        Ok(text) => text,
        Err(found) => return found,
    };
    let mut depth = 1;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Found::Object(&text[..at]);
        }
    }
    Found::CutOff
}

/// The text behind white space and a mark.
fn after(mut text: &[u8], mark: u8) -> Result<&[u8], Found<'_>> {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    match text {
        [] => Err(Found::CutOff),
        [first, rest @ ..] if *first == mark => Ok(rest),
        _ => Err(Found::Another),
    }
}

fn number(object: &[u8], name: &[u8]) -> Option<u64> {
    let text = after(&object[find(object, name)? + name.len()..], b':').ok()?;
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))?;
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |sum: Option<u64>, digit| {
        Some(sum.unwrap_or(0).saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, size: usize) -> (Option<u64>, Option<u64>) {
        let mut usage = Usage::default();
        text.as_bytes().chunks(size).for_each(|piece| usage.scan(piece));
        (usage.prompt, usage.completion)
    }

    #[test]
    fn tokens_are_found_however_the_bytes_arrive() {
        for (text, tokens) in [
            (r#"{"usage":{"prompt_tokens":11,"completion_tokens":5}}"#, (Some(11), Some(5))),
            (r#"{"usage" : { "input_tokens" : 7, "d": {"x": 1}, "output_tokens": 4 } }"#, (Some(7), Some(4))),
            (
                r#"{"usage":null} {"usage":{"prompt_tokens":1}} {"usage":{"prompt_tokens":2}}"#,
                (Some(2), None),
            ),
            (r#"{"x":"\"usage\":{\"prompt_tokens\":9}","usage":{"prompt_tokens":1}}"#, (Some(1), None)),
            (r#"{"usage":{"seconds":3}}"#, (None, None)),
            (r#"{"usage":{"prompt_tokens":5"#, (None, None)),
            (r#"{"usage":{"prompt_tokens":99999999999999999999}}"#, (Some(u64::MAX), None)),
            ("\"usag\"usage\":{\"prompt_tokens\":3}", (Some(3), None)),
        ] {
            for size in [1, 2, 5, 7, text.len()] {
                assert_eq!(told(text, size), tokens, "{} by {}", text, size);
            }
        }
    }

    #[test]
    fn what_is_longer_than_any_usage_is_not_kept() {
        let mut usage = Usage::default();
        usage.scan(format!("{{\"usage\": {{\"x\": \"{}\"", "y".repeat(9000)).as_bytes());
        assert!(usage.rest.len() < KEY.len());
        usage.scan(b"}, \"usage\": {\"prompt_tokens\": 1}");
        assert_eq!(usage.prompt, Some(1));
    }
}
