//! A stream of events that breaks off: what its caller is told before the connection ends.
//!
//! Its status has long been sent, so all that Envoy does by itself is to cut it. Clients take that for a fault of
//! the network; an event in the words of their API is raised as what it is.

use crate::request::without_query;

const FAILED: &[u8] = b"data: {\"error\": {\"message\": \"The model's answer broke off.\", \
    \"type\": \"server_error\", \"param\": null, \"code\": \"upstream_failed\"}}\n\n";
const RESPONSE_FAILED: &[u8] = b"event: error\ndata: {\"type\": \"error\", \"sequence_number\": 0, \
    \"code\": \"upstream_failed\", \"message\": \"The model's answer broke off.\", \"param\": null}\n\n";
const MESSAGE_FAILED: &[u8] = b"event: error\ndata: {\"type\": \"error\", \"error\": \
    {\"type\": \"api_error\", \"message\": \"The model's answer broke off.\"}}\n\n";

/// An answer that is a stream of events.
pub struct Events {
    failed: &'static [u8],
    /// How many lines have ended since the last byte of an event; two are the end of it.
    line_ends: usize,
}

impl Events {
    /// The answer to a request for a path, before its first byte.
    pub fn to(path: &[u8]) -> Events {
        let failed = match without_query(path) {
            b"/v1/responses" => RESPONSE_FAILED,
            b"/v1/messages" => MESSAGE_FAILED,
            _ => FAILED,
        };
        Events { failed, line_ends: 2 }
    }

    /// Look at the next piece of it.
    pub fn pass(&mut self, piece: &[u8]) {
        let blank = piece.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank < piece.len() {
            self.line_ends = 0;
        }
        self.line_ends += piece[piece.len() - blank..].iter().filter(|byte| **byte == b'\n').count();
    }

    /// The event that tells of the end; nothing within another event, which it would be taken for a part of.
    pub fn broke_off(&self) -> Option<&'static [u8]> {
        if self.line_ends < 2 {
            return None;
        }
        Some(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_between_events_alone() {
        for (text, between) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\n", false),
            ("data: 1\n\ndata", false),
            ("data: 1\n\n\n", true),
            (": comment\n\n", true),
            ("event: a\ndata: 1\n", false),
        ] {
            for size in [1, 2, 3, 64] {
                let mut events = Events::to(b"/v1/completions");
                text.as_bytes().chunks(size).for_each(|piece| events.pass(piece));
                assert_eq!(events.broke_off().is_some(), between, "{:?} by {}", text, size);
            }
        }
    }

    #[test]
    fn each_api_has_its_own_words() {
        for (path, start) in [
            ("/v1/chat/completions", "data: {\"error\""),
            ("/v1/responses", "event: error\ndata: {\"type\": \"error\", \"sequence_number\""),
            ("/v1/messages?beta=true", "event: error\ndata: {\"type\": \"error\", \"error\""),
        ] {
            let told = Events::to(path.as_bytes()).broke_off().unwrap_or_default();
            assert!(told.starts_with(start.as_bytes()), "{}", path);
        }
    }
}
