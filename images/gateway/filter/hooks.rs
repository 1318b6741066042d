//! The functions that Envoy calls. Each is a line or two; what is done stands in `exchange.rs` and `strip.rs`.
//!
//! A panic of ours must not end Envoy, and with it the requests of everybody else: it is logged, and the request
//! goes on as if nothing had been read.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::envoy::{log_error, Arrival, Stream, Text, ABI_VERSION};
use crate::exchange::{Exchange, Place};
use crate::strip::strip;
use crate::tally;

const CONTINUE: i32 = 0;
const STOP: i32 = 1;

fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        log_error("tertium's filter panicked");
        otherwise
    })
}

fn go_on_if(ready: bool) -> i32 {
    if ready {
        CONTINUE
    } else {
        STOP
    }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const u8 {
    ABI_VERSION.as_ptr()
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    _: *mut c_void,
    name: Text,
    _: Text,
) -> *mut Place {
    guarded(std::ptr::null_mut(), || match Place::named(unsafe { name.bytes() }) {
        Some(place) => Box::into_raw(Box::new(place)),
        None => std::ptr::null_mut(),
    })
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(place: *mut Place) {
    drop(unsafe { Box::from_raw(place) });
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    place: *const Place,
    _: *mut c_void,
) -> *mut Exchange {
    Box::into_raw(Box::new(Exchange::at(unsafe { *place })))
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(exchange: *mut Exchange) {
    drop(unsafe { Box::from_raw(exchange) });
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    stream: *mut c_void,
    exchange: *mut Exchange,
    end: bool,
) -> i32 {
    let mut stream = unsafe { Stream::new(stream) };
    guarded(CONTINUE, || {
        // Envoy shows us our own answer before this returns: the exchange must not be borrowed then.
        if unsafe { &*exchange }.is_for_tally(&stream) {
            stream.answer(&tally::text());
            return STOP;
        }
        go_on_if(unsafe { &mut *exchange }.on_headers(&mut stream, end))
    })
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    stream: *mut c_void,
    exchange: *mut Exchange,
    end: bool,
) -> i32 {
    let (mut stream, exchange) = unsafe { (Stream::new(stream), &mut *exchange) };
    guarded(CONTINUE, || go_on_if(exchange.on_body(&mut stream, end)))
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    stream: *mut c_void,
    exchange: *mut Exchange,
) -> i32 {
    let (mut stream, exchange) = unsafe { (Stream::new(stream), &mut *exchange) };
    guarded(CONTINUE, || go_on_if(exchange.on_body(&mut stream, true)))
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    stream: *mut c_void,
    exchange: *mut Exchange,
    _: bool,
) -> i32 {
    let (mut stream, exchange) = unsafe { (Stream::new(stream), &mut *exchange) };
    guarded((), || exchange.on_answer(&mut stream));
    CONTINUE
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    stream: *mut c_void,
    exchange: *mut Exchange,
    _: bool,
) -> i32 {
    let (stream, exchange) = unsafe { (Stream::new(stream), &mut *exchange) };
    guarded((), || exchange.on_answer_body(&stream));
    CONTINUE
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    stream: *mut c_void,
    exchange: *mut Exchange,
    _: u32,
    _: Text,
    _: bool,
) -> i32 {
    let mut stream = unsafe { Stream::new(stream) };
    guarded((), || {
        // Envoy shows us what we send before this returns: the exchange must not be borrowed then.
        if let Some(event) = unsafe { &*exchange }.on_failure() {
            stream.send(event);
        }
    });
    CONTINUE
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    _: *mut c_void,
    exchange: *mut Exchange,
) {
    let exchange = unsafe { &mut *exchange };
    guarded((), || exchange.on_end());
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_early_header_mutation_config_new(
    _: *mut c_void,
    _: Text,
    _: Text,
) -> *const u8 {
    // It has no settings, and null would say that it failed.
    ABI_VERSION.as_ptr()
}

#[no_mangle]
unsafe extern "C" fn envoy_dynamic_module_on_early_header_mutation_mutate(
    _: *const u8,
    request: *mut c_void,
) -> bool {
    let mut request = unsafe { Arrival::new(request) };
    guarded(true, || {
        strip(&mut request);
        true
    })
}

/// What Envoy wants of every module and this one has no use for.
macro_rules! unused {
    ($($name:ident)*) => { $(#[no_mangle] extern "C" fn $name() -> usize { 0 })* };
}

unused! {
    envoy_dynamic_module_on_early_header_mutation_config_destroy
    envoy_dynamic_module_on_http_filter_response_trailers
    envoy_dynamic_module_on_http_filter_per_route_config_new
    envoy_dynamic_module_on_http_filter_per_route_config_destroy
    envoy_dynamic_module_on_http_filter_scheduled
    envoy_dynamic_module_on_http_filter_http_callout_done
    envoy_dynamic_module_on_http_filter_http_stream_headers
    envoy_dynamic_module_on_http_filter_http_stream_data
    envoy_dynamic_module_on_http_filter_http_stream_trailers
    envoy_dynamic_module_on_http_filter_http_stream_complete
    envoy_dynamic_module_on_http_filter_http_stream_reset
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark
    envoy_dynamic_module_on_http_filter_config_scheduled
    envoy_dynamic_module_on_http_filter_config_http_callout_done
    envoy_dynamic_module_on_http_filter_config_http_stream_headers
    envoy_dynamic_module_on_http_filter_config_http_stream_data
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers
    envoy_dynamic_module_on_http_filter_config_http_stream_complete
    envoy_dynamic_module_on_http_filter_config_http_stream_reset
}
