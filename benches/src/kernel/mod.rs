//! The rivals of the operating system: what programs use today. One system call per message and side at least;
//! none of them knows batches, so they have rows with batch 1 only. Each message is filled in a private
//! buffer and checked in one, as the kernel copies anyway. Buffers are as large as our ring, where the
//! system's limits allow.

pub mod message_queue;
pub mod packet;
pub mod stream;
