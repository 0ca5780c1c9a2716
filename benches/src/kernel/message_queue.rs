//! `posix-mq`: a POSIX message queue. Its name is removed as soon as it is open, so that no queue outlives the
//! run. Messages above the system's limit for everybody are not measured, even where root could.

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use zerocopy::IntoBytes;

use crate::fault::Fault;
use crate::payload::{Accept, Dynamic, Size, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// Messages a queue may hold, and bytes of a message, where the system does not say.
const DEFAULT_MESSAGES: usize = 10;
const DEFAULT_BYTES: usize = 8192;

/// A queue without a name, one way.
#[derive(Debug)]
pub struct MessageQueue {
    /// Always there until it is dropped.
    queue: Option<MqdT>,
    size: Dynamic,
}

impl MessageQueue {
    /// A queue as deep as the system allows.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] where the system's limits forbid messages of this size, or queues.
    pub fn new(words: usize) -> Result<Self, Fault> {
        let size = Dynamic(words);
        let bytes_max = limit("msgsize_max").unwrap_or(DEFAULT_BYTES);
        if size.bytes() > bytes_max {
            return Err(Fault::Unsupported(format!(
                "a message of {} bytes is above fs.mqueue.msgsize_max = {bytes_max}",
                size.bytes()
            )));
        }
        let messages = limit("msg_max").unwrap_or(DEFAULT_MESSAGES);
        let attributes = MqAttr::new(0, messages as i64, size.bytes() as i64, 0);
        let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
        let name = format!("/ginnel-bench-{}", std::process::id());
        let queue = mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes));
        let queue = queue.map_err(|error| match error {
            Errno::EMFILE | Errno::ENOSPC | Errno::ENOMEM | Errno::EINVAL | Errno::ENOSYS | Errno::EACCES => {
                Fault::Unsupported(format!("the system gives no message queue of this size ({error})"))
            }
            other => Fault::failed(format!("opening the message queue {name}"), other),
        })?;
        let this = Self { queue: Some(queue), size };
        mq_unlink(name.as_str()).map_err(|error| Fault::failed("removing the queue's name", error))?;
        Ok(this)
    }

    fn end(&self) -> Result<MessageQueueEnd<'_>, Fault> {
        let queue = self.queue.as_ref().ok_or_else(|| Fault::Unsupported("the queue is closed".into()))?;
        Ok(MessageQueueEnd { queue, private: vec![0; self.size.words()] })
    }
}

impl Drop for MessageQueue {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            // Nothing is buffered on our side, so a close that fails loses nothing.
            let _ = mq_close(queue);
        }
    }
}

/// A number in /proc/sys/fs/mqueue.
fn limit(name: &str) -> Option<usize> {
    std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).ok()?.trim().parse().ok()
}

impl Transport for MessageQueue {
    type Size = Dynamic;
    type Producer<'a> = MessageQueueEnd<'a>;
    type Consumer<'a> = MessageQueueEnd<'a>;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<MessageQueueEnd<'_>, Fault> {
        self.end()
    }

    fn consumer(&self) -> Result<MessageQueueEnd<'_>, Fault> {
        self.end()
    }
}

/// Either end, with its private buffer.
#[derive(Debug)]
pub struct MessageQueueEnd<'a> {
    queue: &'a MqdT,
    private: Vec<u64>,
}

impl Producer<Dynamic> for MessageQueueEnd<'_> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            loop {
                match mq_send(self.queue, self.private.as_bytes(), 0) {
                    Ok(()) => break,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(Fault::failed("mq_send", error)),
                }
            }
        }
        Ok(())
    }
}

impl Consumer<Dynamic> for MessageQueueEnd<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let mut priority = 0;
        loop {
            match mq_receive(self.queue, self.private.as_mut_bytes(), &mut priority) {
                Ok(bytes) => return checker.accept(bytes, &self.private),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("mq_receive", error).into()),
            }
        }
    }
}
