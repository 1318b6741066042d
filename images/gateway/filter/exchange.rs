//! What is done with one request and its answer.

use crate::envoy::Stream;
use crate::events::Events;
use crate::request::{self, Kind, MODEL_UNKNOWN};
use crate::tally;
use crate::usage::Usage;

// Names that the rest of the gateway knows too: `render/envoy/layout.py` and `filter.py`.
const SPACE: &str = "tertium";
const MODEL: &str = "tertium.model";
const DEPLOYMENT: &str = "deployment";
const PREFIX_BYTES: &str = "prefixCharacters";
const DEPLOYMENT_HEADER: &str = "x-tertium-deployment";
const STREAM_HEADER: &str = "x-tertium-stream";
const PREFIX_HEADER: &str = "x-tertium-prefix";
const KEY_HEADER: &str = "x-tertium-key";
const PROBLEM_HEADER: &str = "x-tertium-problem";
const MODEL_HEADER: &str = "x-tertium-model";
const LOOKUPS_HEADER: &str = "x-tertium-lookups";
/// What Envoy says when it has looked up a request again.
const REDIRECTED_HEADER: &str = "x-envoy-original-url";
/// What is left over when the activator had the request looked up again.
const LEFT_OVER: [&str; 4] = [PROBLEM_HEADER, MODEL_HEADER, LOOKUPS_HEADER, REDIRECTED_HEADER];
/// The status by which the activator has Envoy try again; when no replica took the request, its caller sees it.
const RELEASED: &str = "599";
const UNAVAILABLE: &[u8] = b"503";
const TALLY_PATH: &[u8] = b"/tertium/tally";
/// More of a name that leads to no model is not told to the activator, who quotes it.
const LONGEST_NAME: usize = 256;
const EVENTS: &[u8] = b"text/event-stream";

/// Where in Envoy's configuration the filter stands.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    /// Before callers. It counts.
    Callers,
    /// On loopback, before the activator, who may ask for the sums.
    Activator,
}

impl Place {
    /// The place of a name in the configuration.
    pub fn named(name: &[u8]) -> Option<Place> {
        match name {
            b"callers" => Some(Place::Callers),
            b"activator" => Some(Place::Activator),
            _ => None,
        }
    }
}

/// One request and its answer.
pub struct Exchange {
    place: Place,
    read: bool,
    /// The API key that it came with.
    key: Vec<u8>,
    /// Whether the activator had its route looked up again.
    looked_up: bool,
    /// Whether a stream of events was asked for.
    stream: bool,
    /// Whose tokens these are: deployment, its UID and the API key; empty while that is nobody's.
    whose: Vec<u8>,
    /// What the answer told, once it is one to be counted.
    usage: Option<Usage>,
    /// Where the answer stands, if it is a stream of events.
    events: Option<Events>,
}

impl Exchange {
    /// A request that has only begun.
    pub fn at(place: Place) -> Exchange {
        Exchange {
            place,
            read: false,
            key: Vec::new(),
            looked_up: false,
            stream: false,
            whose: Vec::new(),
            usage: None,
            events: None,
        }
    }

    /// Say whether it asks for the sums.
    pub fn is_for_tally(&self, stream: &Stream) -> bool {
        self.place == Place::Activator && stream.request_header(":path") == TALLY_PATH
    }

    /// Say whether the request may go on before its body is here.
    pub fn on_headers(&mut self, stream: &mut Stream, end: bool) -> bool {
        let (mut method, mut path, mut kind) = (&[][..], &[][..], Kind::Other);
        for (name, value) in stream.request_headers() {
            match name {
                b":method" => method = value,
                b":path" => path = value,
                b"content-type" => kind = Kind::of(value),
                _ if name == KEY_HEADER.as_bytes() => self.key = value.to_vec(),
                _ if name == LOOKUPS_HEADER.as_bytes() => self.looked_up = true,
                _ => {}
            }
        }
        if !request::is_for_model(method, path) {
            self.read = true; // the route it has is right
            return true;
        }
        if !end && kind != Kind::Other {
            return false;
        }
        self.on_body(stream, true)
    }

    /// Say whether it may go on: when the whole body is here it is read, once.
    pub fn on_body(&mut self, stream: &mut Stream, end: bool) -> bool {
        if end && !self.read {
            self.read = true;
            self.read_body(stream);
        }
        self.read
    }

    fn read_body(&mut self, stream: &mut Stream) {
        let request = request::read(stream.request_header("content-type"), &stream.request_body());
        let name = match &request.model {
            Ok(name) => name.as_bytes(),
            Err(problem) => return stream.set_request_header(PROBLEM_HEADER, problem.as_bytes()),
        };
        stream.set_state(MODEL, name);
        stream.look_up_route();
        self.whose = stream.route_text(SPACE, DEPLOYMENT).to_vec();
        if self.whose.is_empty() {
            stream.set_request_header(PROBLEM_HEADER, MODEL_UNKNOWN.as_bytes());
            stream.set_request_header(MODEL_HEADER, &name[..name.len().min(LONGEST_NAME)]);
            return;
        }
        let name = self.whose.split(|byte| *byte == b'|').next().unwrap_or_default();
        stream.add_request_header(DEPLOYMENT_HEADER, name);
        self.whose.push(b'|');
        self.whose.append(&mut self.key);
        self.stream = request.stream;
        if request.stream {
            stream.add_request_header(STREAM_HEADER, b"true");
        }
        if self.looked_up {
            LEFT_OVER.iter().for_each(|name| stream.remove_request_header(name));
        }
        let size = stream.route_number(SPACE, PREFIX_BYTES);
        if let (Some(from), true) = (request.prompt, size > 0) {
            let hash = request::hash(stream.request_body()[from..].iter().take(size));
            stream.add_request_header(PREFIX_HEADER, hash.as_bytes());
        }
    }

    /// The headers of the answer are here.
    pub fn on_answer(&mut self, stream: &mut Stream) {
        let status = stream.answer_header(":status");
        if status == RELEASED.as_bytes() {
            return stream.set_answer_header(":status", UNAVAILABLE);
        }
        let counted = self.place == Place::Callers && !self.whose.is_empty();
        if counted && matches!(status, [b'2', _, _]) {
            self.usage = Some(Usage::default());
            if self.stream && stream.answer_header("content-type").starts_with(EVENTS) {
                self.events = Some(Events::to(stream.request_header(":path")));
            }
        }
    }

    /// A piece of the answer is here.
    pub fn on_answer_body(&mut self, stream: &Stream) {
        if let Some(usage) = &mut self.usage {
            stream.answer_pieces(|piece| {
                usage.scan(piece);
                self.events.iter_mut().for_each(|events| events.pass(piece));
            });
        }
    }

    /// Envoy has something to say by itself; what the caller is told first, where the answer has begun.
    pub fn on_failure(&self) -> Option<&'static [u8]> {
        self.events.as_ref().and_then(Events::broke_off)
    }

    /// The answer has ended, whole or not.
    pub fn on_end(&mut self) {
        if let Some(usage) = self.usage.take() {
            tally::add(&self.whose, &usage);
        }
    }
}
