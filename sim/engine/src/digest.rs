//! The digest of a run: BLAKE3 over its trace, in the order in which it happened.
//!
//! Values are hashed by their `Hash` implementation, which is stable for one build on 64-bit
//! little-endian machines. Nothing hashed depends on addresses, threads or wall time.

use std::hash::Hasher;

use crate::outcome::Digest;

const CHUNK: usize = 32 * 1024;

/// Collects a trace and hashes it in large pieces.
pub(crate) struct Digester {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Digester {
    pub(crate) fn new() -> Self {
        Digester { hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(CHUNK + 256) }
    }

    /// Whole pieces only: BLAKE3 hashes eight of its chunks at once as long as they are aligned.
    #[cold]
    fn flush(&mut self) {
        let whole = self.buffer.len() / CHUNK * CHUNK;
        self.hasher.update(&self.buffer[..whole]);
        self.buffer.drain(..whole);
    }

    pub(crate) fn finalize(mut self) -> Digest {
        self.hasher.update(&self.buffer);
        Digest(*self.hasher.finalize().as_bytes())
    }
}

impl Hasher for Digester {
    fn finish(&self) -> u64 {
        // Only `finalize` gives the digest; nothing asks for an intermediate value.
        0
    }

    /// Which variant of an enum: one byte will do.
    #[inline]
    fn write_isize(&mut self, variant: isize) {
        match u8::try_from(variant) {
            Ok(variant) if variant < u8::MAX => self.write(&[variant]),
            _ => {
                self.write(&[u8::MAX]);
                self.write(&variant.to_le_bytes());
            }
        }
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush();
        }
    }
}
