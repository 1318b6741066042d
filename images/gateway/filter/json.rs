//! Reading `model` and `stream` of a JSON body (RFC 8259).
//!
//! The body is read to its end, because what is no JSON must wake no model. Nothing is copied but the name. The
//! last of several fields of one name counts, as it does for the engine.

use std::borrow::Cow;

use crate::request::{named, Problem, Request, BODY_NOT_JSON, MODEL_INVALID, MODEL_MISSING};

/// Deeper than anybody nests, and no danger to the stack of a thread.
const DEEPEST: usize = 500;

/// It is no JSON.
struct Malformed;

/// Read a whole body.
pub fn read(body: &[u8]) -> Request {
    if body.is_empty() {
        return Err(MODEL_MISSING).into();
    }
    let is_text = std::str::from_utf8(body).is_ok();
    let mut scanner = Scanner { text: body, at: 0 };
    match scanner.body() {
        Ok(request) if is_text => request,
        _ => Err(BODY_NOT_JSON).into(),
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn body(&mut self) -> Result<Request, Malformed> {
        let mut request = Request::from(Err(MODEL_MISSING));
        self.space();
        if self.peek() == Some(b'{') {
            self.members(1, |scanner, key, from| {
                let value = scanner.value(1)?;
                match key.decoded().as_deref() {
                    Some(b"model") => request.model = model_of(value),
                    Some(b"stream") => request.stream = value == b"true",
                    Some(b"messages" | b"prompt" | b"input" | b"query") => {
                        request.prompt = request.prompt.or(Some(from));
                    }
                    _ => {}
                }
                Ok(())
            })?;
        } else {
            self.value(0)?;
        }
        self.space();
        match self.peek() {
            None => Ok(request),
            Some(_) => Err(Malformed),
        }
    }

    /// Pass an object; what follows each key is left to `member`, which is told where the key begins.
    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Quoted<'a>, usize) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.items(b'}', depth, |scanner| {
            let from = scanner.at;
            let key = scanner.string()?;
            scanner.space();
            scanner.expect(b':')?;
            scanner.space();
            member(scanner, key, from)
        })
    }

    /// Pass what stands between two brackets, with commas between.
    fn items(
        &mut self,
        end: u8,
        depth: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if depth > DEEPEST {
            return Err(Malformed);
        }
        self.at += 1;
        self.space();
        if self.take(end) {
            return Ok(());
        }
        loop {
            item(self)?;
            self.space();
            if self.take(end) {
                return Ok(());
            }
            self.expect(b',')?;
            self.space();
        }
    }

    /// Pass a value and return its text.
    fn value(&mut self, depth: usize) -> Result<&'a [u8], Malformed> {
        let from = self.at;
        match self.peek().ok_or(Malformed)? {
            b'"' => self.string().map(drop)?,
            b'{' => self.members(depth + 1, |scanner, _, _| scanner.value(depth + 1).map(drop))?,
            b'[' => self.items(b']', depth + 1, |scanner| scanner.value(depth + 1).map(drop))?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        Ok(&self.text[from..self.at])
    }

    fn string(&mut self) -> Result<Quoted<'a>, Malformed> {
        self.expect(b'"')?;
        let from = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(&self.text[self.at..]);
            match self.next().ok_or(Malformed)? {
                b'"' => return Ok(Quoted { inside: &self.text[from..self.at - 1], escaped }),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Malformed),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.next().ok_or(Malformed)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => (0..4).try_for_each(|_| match self.next() {
                Some(digit) if digit.is_ascii_hexdigit() => Ok(()),
                _ => Err(Malformed),
            }),
            _ => Err(Malformed),
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > from {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// How many bytes of a string come before the next that ends it, begins an escape or may not stand in it.
fn plain(text: &[u8]) -> usize {
    // A prompt has kilobytes. Without a branch for each byte, the compiler has all of a block compared at once.
    const BLOCK: usize = 16;
    let is_plain = |block: &&[u8]| !block.iter().fold(false, |any, byte| any | is_special(*byte));
    let from = text.chunks_exact(BLOCK).take_while(is_plain).count() * BLOCK;
    text[from..].iter().position(|byte| is_special(*byte)).map_or(text.len(), |at| from + at)
}

fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < b' ')
}

/// A string as it stands in the body, without its quotation marks.
struct Quoted<'a> {
    inside: &'a [u8],
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// What it says; nothing if that is no text, as half a surrogate pair is none.
    fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        if self.escaped {
            self.unescaped().map(|text| Cow::Owned(text.into_bytes()))
        } else {
            Some(Cow::Borrowed(self.inside))
        }
    }

    fn unescaped(&self) -> Option<String> {
        let mut rest = std::str::from_utf8(self.inside).ok()?.chars();
        let mut units = Vec::with_capacity(self.inside.len());
        while let Some(character) = rest.next() {
            let decoded = match character {
                '\\' => match rest.next()? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digits = rest.as_str().get(..4)?;
                        units.push(u16::from_str_radix(digits, 16).ok()?);
                        rest = rest.as_str()[4..].chars();
                        continue;
                    }
                    other => other,
                },
                other => other,
            };
            units.extend_from_slice(decoded.encode_utf16(&mut [0; 2]));
        }
        String::from_utf16(&units).ok()
    }
}

fn model_of(value: &[u8]) -> Result<String, Problem> {
    match value {
        b"null" => Err(MODEL_MISSING),
        [b'"', inside @ .., b'"'] => {
            let quoted = Quoted { inside, escaped: inside.contains(&b'\\') };
            named(&quoted.decoded().ok_or(MODEL_INVALID)?)
        }
        _ => Err(MODEL_INVALID),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(body: &str) -> Result<String, Problem> {
        read(body.as_bytes()).model
    }

    #[test]
    fn the_model_is_found_however_it_is_written() {
        for body in [
            r#"{"model":"a/b"}"#,
            " {\n\t\"messages\" : [ {\"content\": \"x \\\" \\\\\"} , -1.5e+3 ] ,\r\"model\" : \"a/b\" } ",
            r#"{"model":"a\/b","x":{"model":"no"},"y":[{"model":"no"}]}"#,
            r#"{"mod\u0065l":"\u0061/b"}"#,
            r#"{"model":5,"model":"a/b"}"#,
            r#"{"x":"\"model\":\"no\"","model":"a/b","z":1e9,"t":[true,false,null,{},[]]}"#,
        ] {
            assert_eq!(model(body), Ok("a/b".into()), "{}", body);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (body, problem) in [
            ("", MODEL_MISSING),
            ("{}", MODEL_MISSING),
            ("[1]", MODEL_MISSING),
            ("1", MODEL_MISSING),
            (r#"{"model":null}"#, MODEL_MISSING),
            (r#"{"x":{"model":"m"}}"#, MODEL_MISSING),
            (r#"{"model":""}"#, MODEL_INVALID),
            (r#"{"model":5}"#, MODEL_INVALID),
            (r#"{"model":["m"]}"#, MODEL_INVALID),
            (r#"{"model":"m","model":{}}"#, MODEL_INVALID),
            (r#"{"model":"a\r\nb"}"#, MODEL_INVALID),
            (r#"{"model":"\ud800"}"#, MODEL_INVALID),
            (" ", BODY_NOT_JSON),
            (r#"{"model":"m"} x"#, BODY_NOT_JSON),
            (r#"{"model":"m",}"#, BODY_NOT_JSON),
            (r#"{"model" "m"}"#, BODY_NOT_JSON),
            (r#"{"model":"m""#, BODY_NOT_JSON),
            (r#"{model:"m"}"#, BODY_NOT_JSON),
            (r#"{"model":"\x"}"#, BODY_NOT_JSON),
            (r#"{"model":"\u12g4"}"#, BODY_NOT_JSON),
            (r#"{"model":01}"#, BODY_NOT_JSON),
            (r#"{"model":-}"#, BODY_NOT_JSON),
            (r#"{"model":1.}"#, BODY_NOT_JSON),
            (r#"{"model":tru}"#, BODY_NOT_JSON),
            (r#"{"model":NaN}"#, BODY_NOT_JSON),
            ("{\"model\":\"a\nb\"}", BODY_NOT_JSON),
            (r#"{"model":"m","x":"\"#, BODY_NOT_JSON),
            ("[1,]", BODY_NOT_JSON),
            ("[", BODY_NOT_JSON),
        ] {
            assert_eq!(model(body), Err(problem), "{}", body);
        }
        assert_eq!(read(b"{\"model\":\"m\",\"x\":\"\xff\"}").model, Err(BODY_NOT_JSON));
    }

    #[test]
    fn a_string_of_any_length_ends_where_it_does() {
        for length in 0..70 {
            let text = "x".repeat(length);
            for (inside, is_json) in [
                (text.clone(), true),
                (format!("{text}\\\"{text}"), true),
                (format!("{text}\\u00e9{text}é"), true),
                (format!("{text}\\q{text}"), false),
                (format!("{text}\t{text}"), false),
                (format!("{text}\"{text}"), false),
            ] {
                let body = format!(r#"{{"x":"{inside}","model":"m"}}"#);
                assert_eq!(model(&body).is_ok(), is_json, "{body}");
            }
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested =
            |depth: usize| format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(model(&nested(DEEPEST - 1)), Ok("m".into()));
        assert_eq!(model(&nested(DEEPEST)), Err(BODY_NOT_JSON));
        assert_eq!(model(&"[".repeat(1_000_000)), Err(BODY_NOT_JSON));
    }

    #[test]
    fn a_stream_is_wanted_if_it_is_true() {
        for (value, wanted) in
            [("true", true), ("false", false), ("1", false), ("\"true\"", false), ("null", false)]
        {
            let body = format!(r#"{{"stream": {} , "model":"m"}}"#, value);
            assert_eq!(read(body.as_bytes()).stream, wanted, "{}", body);
        }
    }

    #[test]
    fn the_prompt_begins_at_the_first_field_that_holds_one() {
        for (body, prompt) in [
            (r#"{"model":"m","messages":[],"prompt":1}"#, Some(13)),
            (r#"{"input":"x"}"#, Some(1)),
            (r#"{"model":"m","x":{"messages":[]}}"#, None),
        ] {
            assert_eq!(read(body.as_bytes()).prompt, prompt, "{}", body);
        }
    }
}
