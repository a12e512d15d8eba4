//! An answer that is there at once or comes later (rank 0).
//!
//! The seams to an HSS, a store or a peer return [`Answer`]: an implementation that has
//! the value in memory gives `Now` and costs no allocation and no trip through the
//! scheduler; a remote one gives `Later`. Callers just `.await` either.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A value now, or a future of it on this thread.
pub enum Answer<'a, T> {
    Now(Option<T>),
    Later(Pin<Box<dyn Future<Output = T> + 'a>>),
}

impl<'a, T> Answer<'a, T> {
    pub fn now(value: T) -> Self {
        Answer::Now(Some(value))
    }

    /// The value, waited for on this thread: for start-up and the command line, not for a worker.
    pub fn wait(self) -> T
    where
        T: Unpin,
    {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut me = Box::pin(self);
        loop {
            match me.as_mut().poll(&mut context) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    pub fn later(future: impl Future<Output = T> + 'a) -> Self {
        Answer::Later(Box::pin(future))
    }
}

impl<T: Unpin> Future for Answer<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Answer::Now(value) => match value.take() {
                Some(value) => Poll::Ready(value),
                None => Poll::Pending, // polled again after completion: a fused future never ends twice
            },
            Answer::Later(future) => future.as_mut().poll(cx),
        }
    }
}

/// A job for this thread's executor.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;
