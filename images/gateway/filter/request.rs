//! What a request says: which model it is for, or else what is wrong with it.

use crate::text::trim;
use crate::{form, json};

// The gateway's routes and answers know these words: `render/envoy/filter.py`.
pub const BODY_NOT_JSON: &str = "body_not_json";
pub const FORM_BROKEN: &str = "form_broken";
pub const MODEL_MISSING: &str = "model_missing";
pub const MODEL_INVALID: &str = "model_invalid";
pub const MODEL_UNKNOWN: &str = "model_unknown";
const UNREADABLE: &str = "unreadable";

// What the engine serves to callers, as far as a model's name in the body says which engine is meant:
// `render/envoy/filter.py`.
const OPENAI: &str = "/v1/";
const OTHERS: [&str; 10] = [
    "/v2/rerank",
    "/v2/embed",
    "/rerank",
    "/score",
    "/classify",
    "/pooling",
    "/tokenize",
    "/detokenize",
    "/invocations",
    "/inference/v1/generate",
];

/// Say whether a request is one for a model.
pub fn is_for_model(method: &[u8], path: &[u8]) -> bool {
    let known = |path: &[u8]| OTHERS.iter().any(|other| other.as_bytes() == path);
    method == b"POST" && (path.starts_with(OPENAI.as_bytes()) || known(without_query(path)))
}

/// A path without what follows a question mark.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// What is wrong, in one of the words above.
pub type Problem = &'static str;

/// What a body says.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The name of a model, of printable ASCII characters.
    pub model: Result<String, Problem>,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Where the field begins that holds the prompt.
    pub prompt: Option<usize>,
}

impl From<Result<String, Problem>> for Request {
    fn from(model: Result<String, Problem>) -> Request {
        Request { model, stream: false, prompt: None }
    }
}

/// How a body is to be read.
#[derive(Debug, PartialEq)]
pub enum Kind {
    Json,
    Form,
    Other,
}

impl Kind {
    /// The kind of a content type.
    pub fn of(content_type: &[u8]) -> Kind {
        let media = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        let media = trim(media);
        if media.eq_ignore_ascii_case(b"application/json") {
            Kind::Json
        } else if media.eq_ignore_ascii_case(b"multipart/form-data") {
            Kind::Form
        } else {
            Kind::Other
        }
    }
}

/// Read a whole body.
pub fn read(content_type: &[u8], body: &[u8]) -> Request {
    match Kind::of(content_type) {
        Kind::Json => json::read(body),
        Kind::Form => form::read(content_type, body).into(),
        Kind::Other => Err(UNREADABLE).into(),
    }
}

/// Take a text for the name of a model only if it may stand in a header: a line break of the caller's must not.
pub fn named(text: &[u8]) -> Result<String, Problem> {
    match std::str::from_utf8(text) {
        Ok(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(name.into()),
        _ => Err(MODEL_INVALID),
    }
}

/// The hash of the beginning of a prompt, by which a replica is chosen: FNV-1a, in hexadecimal digits.
pub fn hash<'a>(text: impl Iterator<Item = &'a u8>) -> String {
    let sum = text
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:016x}", sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_of_a_content_type_is_known() {
        for json in ["application/json", "APPLICATION/JSON ; charset=utf-8", " application/json;"] {
            assert_eq!(Kind::of(json.as_bytes()), Kind::Json);
        }
        assert_eq!(Kind::of(b"Multipart/Form-Data; boundary=x"), Kind::Form);
        for other in ["", "text/plain", "application/jsonl", "application/json, text/plain"] {
            assert_eq!(Kind::of(other.as_bytes()), Kind::Other);
        }
    }

    #[test]
    fn a_request_for_a_model_is_a_post_to_what_engines_serve() {
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", true),
            ("POST", "/v1/anything?x=/", true),
            ("POST", "/tokenize?x=1", true),
            ("GET", "/v1/models", false),
            ("POST", "/v1", false),
            ("POST", "/tokenize/x", false),
            ("POST", "/sleep?/tokenize", false),
        ] {
            assert_eq!(is_for_model(method.as_bytes(), path.as_bytes()), expected, "{} {}", method, path);
        }
    }

    #[test]
    fn a_name_is_of_printable_characters() {
        assert_eq!(named(b"team/m~!"), Ok("team/m~!".into()));
        for text in [&b""[..], b"a b", b"a\r\nx: y", "é".as_bytes(), b"\x7f"] {
            assert_eq!(named(text), Err(MODEL_INVALID));
        }
    }
}
