//! Messages on their way, each in a slot of its own.
//!
//! The queue moves slot numbers; a message is written once, when it is sent, and read once, when it
//! arrives.

use crate::network::Message;

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    slots: Vec<Option<Message>>,
    free: Vec<u32>,
}

impl Mail {
    /// Keeps a message; its slot.
    #[inline(always)]
    pub(crate) fn put(&mut self, message: Message) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(message);
            return slot;
        }
        self.slots.push(Some(message));
        u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 messages are on their way")
    }

    /// A message that is on its way.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Message {
        self.slots[slot as usize].as_ref().expect("a message is delivered once")
    }

    /// Takes a message out.
    #[inline(always)]
    pub(crate) fn take(&mut self, slot: u32) -> Message {
        self.free.push(slot);
        self.slots[slot as usize].take().expect("a message is delivered once")
    }
}
