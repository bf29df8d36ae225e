//! A fuzzer's input, taken piece by piece.

/// What is left of it. At its end there are zeros, and nothing in a piece.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        for (place, byte) in array.iter_mut().zip(self.take(N)) {
            *place = *byte;
        }
        array
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// True once in `times` values.
    pub(super) fn seldom(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    /// So many bytes, or what there is.
    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// As many bytes as the next one says.
    pub(super) fn piece(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// One of the choices, the first one at the end.
    pub(super) fn pick<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        let at = usize::from(self.byte()) % (others.len() + 1);
        at.checked_sub(1)
            .and_then(|at| others.get(at).copied())
            .unwrap_or(first)
    }

    /// Puts up to 15 pieces of the input into `bytes`, each somewhere.
    pub(super) fn damage(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.byte() % 16 {
            let at = usize::from(self.u16()) % bytes.len().max(1);
            let length = usize::from(self.byte() % 16);
            put(bytes, at, self.take(length));
        }
    }
}

/// Overwrites what is at `at`, as far as there is something.
pub(super) fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(with) {
        *place = *byte;
    }
}
