//! Reading the field `model` of a form (multipart/form-data: RFC 7578, RFC 2046), as audio comes.

use crate::request::{named, Problem, FORM_BROKEN, MODEL_MISSING};
use crate::text::{find, trim};

const MOST_PARTS: usize = 64;
const LONGEST_HEAD: usize = 4096;
const LONGEST_NAME: usize = 256;
const LONGEST_BOUNDARY: usize = 70;

/// Read a whole body up to the field; of a form with several the first counts.
pub fn read(content_type: &[u8], body: &[u8]) -> Result<String, Problem> {
    let boundary = parameter(content_type, b"boundary").ok_or(FORM_BROKEN)?;
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
        return Err(FORM_BROKEN);
    }
    let delimiter = [b"\r\n--", boundary].concat();
    // The first part needs no line break before it.
    let mut rest = after(body, &delimiter[2..])?;
    for _ in 0..MOST_PARTS {
        if rest.starts_with(b"--") {
            return Err(MODEL_MISSING);
        }
        let head_end = find(&rest[..rest.len().min(LONGEST_HEAD)], b"\r\n\r\n").ok_or(FORM_BROKEN)?;
        let (head, value) = (&rest[..head_end], &rest[head_end + 4..]);
        if field_of(head) == Some(b"model") {
            let longest = &value[..value.len().min(LONGEST_NAME + delimiter.len())];
            return named(&value[..find(longest, &delimiter).ok_or(FORM_BROKEN)?]);
        }
        // An empty value has the delimiter's line break from its head.
        rest = after(&rest[head_end + 2..], &delimiter)?;
    }
    Err(FORM_BROKEN)
}

fn after<'a>(text: &'a [u8], part: &[u8]) -> Result<&'a [u8], Problem> {
    find(text, part).map(|at| &text[at + part.len()..]).ok_or(FORM_BROKEN)
}

/// The name of a part's field, from its headers.
fn field_of(head: &[u8]) -> Option<&[u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        if trim(&line[..colon]).eq_ignore_ascii_case(b"content-disposition") {
            parameter(&line[colon..], b"name")
        } else {
            None
        }
    })
}

/// A parameter of a header, quoted or not.
fn parameter<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = header;
    loop {
        rest = &rest[rest.iter().position(|byte| *byte == b';')? + 1..];
        let text = trim(rest);
        let equals = text.iter().position(|byte| matches!(byte, b'=' | b';' | b'"'))?;
        if text[equals] != b'=' {
            continue;
        }
        let value = &text[equals + 1..];
        let (value, after) = match value {
            [b'"', quoted @ ..] => {
                let end = quoted.iter().position(|byte| *byte == b'"')?;
                (&quoted[..end], &quoted[end..])
            }
            plain => {
                let end = plain.iter().position(|byte| *byte == b';').unwrap_or(plain.len());
                (trim(&plain[..end]), &plain[end..])
            }
        };
        if trim(&text[..equals]).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_among_others() {
        for (header, value) in [
            ("multipart/form-data; boundary=b", Some("b")),
            ("multipart/form-data;BOUNDARY=\"a b\" ; x=y", Some("a b")),
            ("x; filename=\"; boundary=no\"; boundary=yes", Some("yes")),
            ("x; flag; boundary=b", Some("b")),
            ("multipart/form-data", None),
            ("x; boundary=\"open", None),
        ] {
            assert_eq!(parameter(header.as_bytes(), b"boundary"), value.map(str::as_bytes), "{}", header);
        }
    }

    #[test]
    fn the_field_is_read_and_look_alikes_are_not() {
        let form = |parts: &str| parts.replace('\n', "\r\n");
        let part = |name: &str, value: &str| {
            format!("--b\nContent-Disposition: form-data; name={}\n\n{}\n", name, value)
        };
        for (parts, model) in [
            (part("\"model\"", "m") + "--b--\n", Ok("m".to_string())),
            (part("model", "m") + "--b--\n", Ok("m".to_string())),
            (part("x; filename=\"model\"", "") + &part("model", "m") + "--b", Ok("m".to_string())),
            (part("xmodel", "model") + "--b--\n", Err(MODEL_MISSING)),
            (part("model", "m"), Err(FORM_BROKEN)),
            ("--b--".to_string(), Err(MODEL_MISSING)),
            ("".to_string(), Err(FORM_BROKEN)),
            ("--b\nno head".to_string(), Err(FORM_BROKEN)),
        ] {
            assert_eq!(read(b"multipart/form-data; boundary=b", form(&parts).as_bytes()), model, "{}", parts);
        }
    }
}
