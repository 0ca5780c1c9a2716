//! Our queues, with any number of producers and consumers: the ring by itself, and what users hold. And what two
//! processes talk through: pipes and connections.

pub mod blocks;
pub mod broadcast;
pub mod duplex;
pub mod mpsc;
pub mod peer;
pub mod queue;
pub mod ring;
