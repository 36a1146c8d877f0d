//! Protocol buffers as they are written: fields of three of their wire types, one after the other.

/// The fields of a message so far.
#[derive(Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    pub(super) fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | VARINT);
        self.varint(number);
    }

    pub(super) fn fixed(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | EIGHT_BYTES);
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn text(&mut self, field: u64, text: &str) {
        self.delimited(field, text.as_bytes());
    }

    pub(super) fn message(&mut self, field: u64, message: &Message) {
        self.delimited(field, &message.bytes);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn delimited(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_encoding_says() {
        let mut inner = Message::default();
        inner.number(1, 150);
        let mut message = Message::default();
        message.text(2, "testing");
        message.message(3, &inner);
        message.fixed(47, 1);
        let expected = b"\x12\x07testing\x1a\x03\x08\x96\x01\xf9\x02\x01\0\0\0\0\0\0\0";
        assert_eq!(message.finish(), expected);
    }
}
