//! Sums of all that was counted since the process began, for the activator to read.
//!
//! Envoy's own counters do the same, but each costs a warm request as much as the look-up of its route.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::usage::Usage;

#[derive(Clone, Copy, Default)]
struct Sums {
    metered: u64,
    unmetered: u64,
    prompt: u64,
    completion: u64,
}

static SUMS: Mutex<Option<HashMap<Vec<u8>, Sums>>> = Mutex::new(None);

fn sums() -> MutexGuard<'static, Option<HashMap<Vec<u8>, Sums>>> {
    SUMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Add one answer, with the tokens it told of.
pub fn add(whose: &[u8], usage: &Usage) {
    let mut all = sums();
    let all = all.get_or_insert_with(HashMap::new);
    if !all.contains_key(whose) {
        all.insert(whose.to_vec(), Sums::default());
    }
    if let Some(sums) = all.get_mut(whose) {
        if usage.prompt.is_none() && usage.completion.is_none() {
            sums.unmetered += 1;
        } else {
            sums.metered += 1;
        }
        sums.prompt = sums.prompt.wrapping_add(usage.prompt.unwrap_or(0));
        sums.completion = sums.completion.wrapping_add(usage.completion.unwrap_or(0));
    }
}

/// A line for each: the answers that told their tokens, those that did not, both tokens, and whose they are.
pub fn text() -> String {
    let all = sums();
    let lines = all.iter().flatten().map(|(whose, sums)| {
        let Sums { metered, unmetered, prompt, completion } = sums;
        let whose = String::from_utf8_lossy(whose);
        format!("{} {} {} {} {}\n", metered, unmetered, prompt, completion, whose)
    });
    lines.collect()
}
