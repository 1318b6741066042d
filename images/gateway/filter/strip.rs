//! What is taken from a request, whoever sent it: what only Envoy and the activator may say to each other.

use crate::envoy::Arrival;

const OURS: &[u8] = b"x-tertium-";
const ENVOYS: &[u8] = b"x-envoy-";

// A name that the activator knows too: `render/envoy/layout.py`.
const ASKED_HOLD_HEADER: &str = "x-asked-hold-seconds";
/// What a caller may say all the same, and is then said under the name above.
const HOLD_HEADER: &str = "x-tertium-hold-seconds";

/// Take it.
pub fn strip(request: &mut Arrival) {
    let private: Vec<Vec<u8>> =
        request.headers().filter(|(name, _)| is_private(name)).map(|(name, _)| name.to_vec()).collect();
    if private.is_empty() {
        return;
    }
    let wish = request.headers().find(|(name, _)| *name == HOLD_HEADER.as_bytes());
    let wish = wish.map(|(_, value)| value.to_vec());
    for name in private {
        request.remove(&name);
    }
    if let Some(seconds) = wish {
        request.set(ASKED_HOLD_HEADER, &seconds);
    }
}

fn is_private(name: &[u8]) -> bool {
    name.starts_with(OURS) || name.starts_with(ENVOYS) || name == ASKED_HOLD_HEADER.as_bytes()
}
