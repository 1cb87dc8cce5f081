//! The tables of HPACK (RFC 7541, section 2.3 and appendix A): 61 fields that everybody knows, and the last ones that were
//! sent.

use std::collections::VecDeque;

use super::hpack::Field;

/// What the RFC counts for a field beside its name and value.
const OVERHEAD: usize = 32;

/// The fields that everybody knows, from index 1.
const KNOWN: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The last fields that were sent, newest first.
#[derive(Debug)]
pub(super) struct Table {
    fields: VecDeque<Field>,
    size: usize,
    most: usize,
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self { fields: VecDeque::new(), size: 0, most }
    }

    /// The field of this index, from 1.
    pub(super) fn get(&self, index: usize) -> Option<Field> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = KNOWN.get(index) {
            return Some(Field::new(name.as_bytes(), value.as_bytes()));
        }
        self.fields.get(index - KNOWN.len()).cloned()
    }

    /// Takes a field up. One that is larger than the table empties it, as the RFC wants it.
    pub(super) fn insert(&mut self, field: Field) {
        let size = size(&field);
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.fields.push_front(field);
        }
    }

    /// From now on it is no larger than this.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.fields.pop_back() else { return };
            self.size -= size(&oldest);
        }
    }
}

/// How large a field is, as the RFC counts it.
pub(super) fn size(field: &Field) -> usize {
    field.name.len() + field.value.len() + OVERHEAD
}
