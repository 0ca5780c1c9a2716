//! Our queues, with any number of producers and consumers: the ring by itself, and what users hold.

pub mod blocks;
pub mod broadcast;
pub mod mpsc;
pub mod queue;
pub mod ring;
