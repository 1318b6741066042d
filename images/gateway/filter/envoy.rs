//! What the filter uses of Envoy's ABI for dynamic modules (version 0.1.0), as functions that are safe to call.

use std::borrow::Cow;
use std::ffi::c_void;
use std::slice;

/// The version of the ABI; Envoy warns if its own is another.
pub const ABI_VERSION: &[u8] = b"v0.1.0\0";

/// A text as it crosses the border. Whoever gets it copies what must outlive the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    at: *const u8,
    length: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    name: Text,
    value: Text,
}

#[repr(C)]
#[derive(Clone, Copy)]
enum Headers {
    Request = 0,
    Response = 2,
}

#[repr(C)]
#[derive(Clone, Copy)]
enum Body {
    ReceivedRequest = 0,
    BufferedRequest = 1,
    ReceivedResponse = 2,
}

/// Whose metadata.
const ROUTE: i32 = 1;

macro_rules! envoy {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        extern "C" {
            $(fn $name($($argument: $kind),*) $(-> $result)?;)*
        }
    };
}

envoy! {
    envoy_dynamic_module_callback_http_get_header(
        stream: *mut c_void, of: Headers, name: Text, value: *mut Text, index: usize, count: *mut usize) -> bool;
    envoy_dynamic_module_callback_http_get_headers_size(stream: *mut c_void, of: Headers) -> usize;
    envoy_dynamic_module_callback_http_get_headers(
        stream: *mut c_void, of: Headers, headers: *mut Header) -> bool;
    envoy_dynamic_module_callback_http_set_header(
        stream: *mut c_void, of: Headers, name: Text, value: Text) -> bool;
    envoy_dynamic_module_callback_http_add_header(
        stream: *mut c_void, of: Headers, name: Text, value: Text) -> bool;
    envoy_dynamic_module_callback_http_get_body_chunks_size(stream: *mut c_void, of: Body) -> usize;
    envoy_dynamic_module_callback_http_get_body_chunks(
        stream: *mut c_void, of: Body, pieces: *mut Text) -> bool;
    envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: *mut c_void, key: Text, value: Text) -> bool;
    envoy_dynamic_module_callback_http_get_metadata_string(
        stream: *mut c_void, whose: i32, space: Text, key: Text, value: *mut Text) -> bool;
    envoy_dynamic_module_callback_http_get_metadata_number(
        stream: *mut c_void, whose: i32, space: Text, key: Text, value: *mut f64) -> bool;
    envoy_dynamic_module_callback_http_clear_route_cache(stream: *mut c_void);
    envoy_dynamic_module_callback_get_most_specific_route_config(stream: *mut c_void) -> *const c_void;
    envoy_dynamic_module_callback_http_send_response(
        stream: *mut c_void, status: u32, headers: *const Header, count: usize, body: Text, details: Text);
    envoy_dynamic_module_callback_http_send_response_data(stream: *mut c_void, piece: Text, end: bool);
    envoy_dynamic_module_callback_early_header_mutation_get_headers_size(request: *mut c_void) -> usize;
    envoy_dynamic_module_callback_early_header_mutation_get_headers(
        request: *mut c_void, headers: *mut Header) -> bool;
    envoy_dynamic_module_callback_early_header_mutation_set_header(
        request: *mut c_void, name: Text, value: Text) -> bool;
    envoy_dynamic_module_callback_early_header_mutation_remove_header(
        request: *mut c_void, name: Text) -> bool;
    envoy_dynamic_module_callback_log(level: i32, message: Text);
}

impl Header {
    /// Names and values of so many headers, which `fill` writes to the place it is given.
    ///
    /// # Safety
    /// They live as long as those that Envoy has.
    unsafe fn list<'a>(
        count: usize,
        fill: impl FnOnce(*mut Header),
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut headers = vec![Header { name: Text::EMPTY, value: Text::EMPTY }; count];
        fill(headers.as_mut_ptr());
        headers.into_iter().map(|header| unsafe { (header.name.bytes(), header.value.bytes()) })
    }
}

impl Text {
    /// What stands there.
    ///
    /// # Safety
    /// It lives until the hook returns in which Envoy handed it out.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.at.is_null() || self.length == 0 {
            return &[];
        }
        unsafe { slice::from_raw_parts(self.at, self.length) }
    }

    const EMPTY: Text = Text { at: std::ptr::null(), length: 0 };
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Text {
        Text { at: text.as_ptr(), length: text.len() }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        text.as_bytes().into()
    }
}

/// Write a line into Envoy's log, as an error.
pub fn log_error(message: &str) {
    const ERROR: i32 = 4;
    unsafe { envoy_dynamic_module_callback_log(ERROR, message.into()) }
}

/// A request that has only just come, before Envoy itself has looked at its headers.
pub struct Arrival(*mut c_void);

impl Arrival {
    /// # Safety
    /// The pointer is the one that Envoy gave to the hook that is running.
    pub unsafe fn new(request: *mut c_void) -> Arrival {
        Arrival(request)
    }

    /// Names, in lower case, and values of its headers. They live until a header is set or removed.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        unsafe {
            let count = envoy_dynamic_module_callback_early_header_mutation_get_headers_size(self.0);
            Header::list(count, |to| {
                envoy_dynamic_module_callback_early_header_mutation_get_headers(self.0, to);
            })
        }
    }

    /// Set a header, whatever it was.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        unsafe {
            envoy_dynamic_module_callback_early_header_mutation_set_header(self.0, name.into(), value.into());
        }
    }

    /// Remove a header, however often it is there.
    pub fn remove(&mut self, name: &[u8]) {
        unsafe {
            envoy_dynamic_module_callback_early_header_mutation_remove_header(self.0, name.into());
        }
    }
}

/// One request and its answer, as Envoy knows them while a hook runs.
pub struct Stream(*mut c_void);

impl Stream {
    /// # Safety
    /// The pointer is the one that Envoy gave to the hook that is running.
    pub unsafe fn new(stream: *mut c_void) -> Stream {
        Stream(stream)
    }

    /// Names, in lower case, and values of the request's headers. They live until one is set or removed.
    ///
    /// To ask for one by a name that Envoy itself has no use for makes it build a dictionary of all.
    pub fn request_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        unsafe {
            let count = envoy_dynamic_module_callback_http_get_headers_size(self.0, Headers::Request);
            Header::list(count, |to| {
                envoy_dynamic_module_callback_http_get_headers(self.0, Headers::Request, to);
            })
        }
    }

    /// The first header of a name; empty if there is none.
    pub fn request_header(&self, name: &str) -> &[u8] {
        self.header(Headers::Request, name)
    }

    /// The first header of a name that the answer has; empty if there is none.
    pub fn answer_header(&self, name: &str) -> &[u8] {
        self.header(Headers::Response, name)
    }

    fn header(&self, of: Headers, name: &str) -> &[u8] {
        let mut value = Text::EMPTY;
        unsafe {
            let none = std::ptr::null_mut();
            envoy_dynamic_module_callback_http_get_header(self.0, of, name.into(), &mut value, 0, none);
            value.bytes()
        }
    }

    /// Set a header of the request, whatever it was.
    pub fn set_request_header(&mut self, name: &str, value: &[u8]) {
        self.set(Headers::Request, name, value);
    }

    /// Set a header of the answer, whatever it was.
    pub fn set_answer_header(&mut self, name: &str, value: &[u8]) {
        self.set(Headers::Response, name, value);
    }

    fn set(&mut self, of: Headers, name: &str, value: &[u8]) {
        unsafe {
            envoy_dynamic_module_callback_http_set_header(self.0, of, name.into(), value.into());
        }
    }

    /// Add a header to the request that it does not have.
    pub fn add_request_header(&mut self, name: &str, value: &[u8]) {
        unsafe {
            let of = Headers::Request;
            envoy_dynamic_module_callback_http_add_header(self.0, of, name.into(), value.into());
        }
    }

    /// Remove a header of the request.
    pub fn remove_request_header(&mut self, name: &str) {
        unsafe {
            let nothing = Text::EMPTY;
            envoy_dynamic_module_callback_http_set_header(self.0, Headers::Request, name.into(), nothing);
        }
    }

    /// The whole body of the request, once all of it is there; copied if it is in pieces.
    pub fn request_body(&self) -> Cow<'_, [u8]> {
        let mut pieces = Vec::new();
        for part in [Body::BufferedRequest, Body::ReceivedRequest] {
            self.pieces(part, |piece| pieces.push(piece));
        }
        match pieces[..] {
            [whole] => Cow::Borrowed(whole),
            _ => Cow::Owned(pieces.concat()),
        }
    }

    /// What has just come of the answer.
    pub fn answer_pieces(&self, each: impl FnMut(&[u8])) {
        self.pieces(Body::ReceivedResponse, each);
    }

    fn pieces<'a>(&'a self, of: Body, each: impl FnMut(&'a [u8])) {
        const FEW: usize = 8;
        let (mut few, mut many);
        unsafe {
            let count = envoy_dynamic_module_callback_http_get_body_chunks_size(self.0, of);
            let pieces = if count <= FEW {
                few = [Text::EMPTY; FEW];
                &mut few[..count]
            } else {
                many = vec![Text::EMPTY; count];
                &mut many[..]
            };
            if count > 0 {
                envoy_dynamic_module_callback_http_get_body_chunks(self.0, of, pieces.as_mut_ptr());
            }
            pieces.iter().map(|piece| piece.bytes()).for_each(each);
        }
    }

    /// Leave a text where the routes find it.
    pub fn set_state(&mut self, key: &str, value: &[u8]) {
        unsafe {
            envoy_dynamic_module_callback_http_set_filter_state_bytes(self.0, key.into(), value.into());
        }
    }

    /// Have the route looked up by what is known now.
    pub fn look_up_route(&mut self) {
        unsafe {
            envoy_dynamic_module_callback_http_clear_route_cache(self.0);
            // Metadata are those of the route that was looked up last. Asking for what a route says to this
            // filter, which is nothing, is what has Envoy look.
            envoy_dynamic_module_callback_get_most_specific_route_config(self.0);
        }
    }

    /// A text of the metadata of the request's route; empty if there is none.
    pub fn route_text(&self, space: &str, key: &str) -> &[u8] {
        let mut value = Text::EMPTY;
        unsafe {
            envoy_dynamic_module_callback_http_get_metadata_string(
                self.0,
                ROUTE,
                space.into(),
                key.into(),
                &mut value,
            );
            value.bytes()
        }
    }

    /// A number of them; 0 if there is none.
    pub fn route_number(&self, space: &str, key: &str) -> usize {
        let mut value = 0.0;
        unsafe {
            envoy_dynamic_module_callback_http_get_metadata_number(
                self.0,
                ROUTE,
                space.into(),
                key.into(),
                &mut value,
            );
        }
        value as usize
    }

    /// Answer the request with a text. The hook then says that the request goes no further.
    pub fn answer(&mut self, text: &str) {
        let headers = [Header { name: "content-type".into(), value: "text/plain".into() }];
        unsafe {
            envoy_dynamic_module_callback_http_send_response(
                self.0,
                200,
                headers.as_ptr(),
                headers.len(),
                text.into(),
                "tertium".into(),
            );
        }
    }

    /// Send one more piece of an answer that has begun.
    pub fn send(&mut self, piece: &[u8]) {
        unsafe { envoy_dynamic_module_callback_http_send_response_data(self.0, piece.into(), false) }
    }
}
