//! Looking at bytes that are mostly text.

/// Where a part begins in a text.
pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    extern "C" {
        // The C library's search is many times faster than a loop: an answer may have megabytes.
        fn memmem(text: *const u8, length: usize, part: *const u8, part_length: usize) -> *const u8;
    }
    let found = unsafe { memmem(text.as_ptr(), text.len(), part.as_ptr(), part.len()) };
    if found.is_null() {
        None
    } else {
        Some(found as usize - text.as_ptr() as usize)
    }
}

/// A text without the white space around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_where_it_begins() {
        for (text, part, at) in
            [("aab", "ab", Some(1)), ("ab", "abc", None), ("", "a", None), ("xa", "a", Some(1))]
        {
            assert_eq!(find(text.as_bytes(), part.as_bytes()), at);
        }
    }

    #[test]
    fn white_space_is_taken_from_both_ends() {
        for (text, inside) in [(" \t a b\r\n", "a b"), ("a", "a"), (" ", ""), ("", "")] {
            assert_eq!(trim(text.as_bytes()), inside.as_bytes());
        }
    }
}
