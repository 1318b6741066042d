//! The gateway's filter, which Envoy loads as a dynamic module and calls on its worker threads.
//!
//! Of a request it tells the routes which model it is for, of an answer it counts the tokens. Envoy can do
//! both with filters and scripts of its own, but for a warm request those cost more than half of all the rest
//! of Envoy.
//!
//! | file         | reason                                                            |
//! | `envoy.rs`   | Envoy's side: its functions, made safe to call                    |
//! | `hooks.rs`   | our side: the functions that Envoy calls                          |
//! | `strip.rs`   | what is taken from a request as soon as it is there               |
//! | `exchange.rs`| what is done with one request and its answer                      |
//! | `request.rs` | what a body says; `json.rs` and `form.rs` read it                 |
//! | `events.rs`  | what is told where a stream breaks off                            |
//! | `usage.rs`   | the tokens that an answer tells of                                |
//! | `tally.rs`   | their sums                                                        |
//! | `text.rs`    | searching bytes                                                   |
//!
//! It has no dependencies and is built by `rustc` alone: 1.63 or later, as Debian 12 has it.

#![deny(unsafe_op_in_unsafe_fn)]

mod envoy;
mod events;
mod exchange;
mod form;
mod hooks;
mod json;
mod request;
mod strip;
mod tally;
mod text;
mod usage;
