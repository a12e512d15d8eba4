//! Futures that are used again. What a request's procedure keeps between its steps is some kilobytes: too much to be allocated, filled
//! and given up for each request, of which most are answered at once.
//!
//! A clerk is one future that serves one request after another; a worker has as many as it had requests at a time.

use crate::answer::Answer;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Clerks without work that are kept.
const IDLE: usize = 256;

/// Where a clerk finds a request and leaves its answer.
struct Tray<I, O> {
    request: Cell<Option<I>>,
    answer: Cell<Option<O>>,
}

struct Clerk<I, O> {
    tray: Rc<Tray<I, O>>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// The clerks of one worker for one kind of procedure.
pub(super) struct Clerks<I, O> {
    idle: RefCell<Vec<Clerk<I, O>>>,
    hire: Box<dyn Fn() -> Clerk<I, O>>,
}

impl<I: 'static, O: 'static> Clerks<I, O> {
    /// `serve`: the procedure.
    pub(super) fn new<F>(serve: impl Fn(I) -> F + Clone + 'static) -> Rc<Self>
    where
        F: Future<Output = O> + 'static,
    {
        let hire = move || {
            let tray = Rc::new(Tray { request: Cell::new(None), answer: Cell::new(None) });
            let (serve, of) = (serve.clone(), tray.clone());
            let work = async move {
                loop {
                    // Nobody wakes an idle clerk: it is polled with its next request.
                    let request = poll_fn(|_| of.request.take().map_or(Poll::Pending, Poll::Ready)).await;
                    let answer = serve(request).await;
                    of.answer.set(Some(answer));
                }
            };
            Clerk { tray, work: Box::pin(work) }
        };
        Rc::new(Clerks { idle: RefCell::default(), hire: Box::new(hire) })
    }

    pub(super) fn serve(self: &Rc<Self>, request: I) -> Answer<'static, O> {
        let clerk = self.idle.borrow_mut().pop().unwrap_or_else(|| (self.hire)());
        clerk.tray.request.set(Some(request));
        Answer::later(Served { clerks: self.clone(), clerk: Some(clerk) })
    }
}

/// One request at a clerk. Dropped before its end, or in a panic, it takes the clerk with it.
struct Served<I, O> {
    clerks: Rc<Clerks<I, O>>,
    clerk: Option<Clerk<I, O>>,
}

impl<I, O> Future for Served<I, O> {
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let served = self.get_mut();
        let Some(mut clerk) = served.clerk.take() else { return Poll::Pending };
        let _ = clerk.work.as_mut().poll(cx); // it has no end
        match clerk.tray.answer.take() {
            Some(answer) => {
                let mut idle = served.clerks.idle.borrow_mut();
                if idle.len() < IDLE {
                    idle.push(clerk);
                }
                Poll::Ready(answer)
            }
            None => {
                served.clerk = Some(clerk);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Waker;

    fn poll(answer: &mut Answer<'static, u32>) -> Poll<u32> {
        Pin::new(answer).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_after_the_other_is_served_by_the_same_clerk() {
        let clerks = Clerks::new(|n: u32| async move { n + 1 });
        for n in 0..10 {
            assert_eq!(poll(&mut clerks.serve(n)), Poll::Ready(n + 1));
        }
        assert_eq!(clerks.idle.borrow().len(), 1);
    }

    #[test]
    fn those_who_wait_have_a_clerk_each_and_one_given_up_is_gone() {
        let gate = Rc::new(Cell::new(false));
        let open = gate.clone();
        let clerks = Clerks::new(move |n: u32| {
            let gate = gate.clone();
            async move {
                poll_fn(|_| if gate.get() { Poll::Ready(()) } else { Poll::Pending }).await;
                n
            }
        });
        let (mut one, mut two, mut three) = (clerks.serve(1), clerks.serve(2), clerks.serve(3));
        assert!([&mut one, &mut two, &mut three].into_iter().all(|served| poll(served).is_pending()));
        drop(two);
        open.set(true);
        assert_eq!((poll(&mut three), poll(&mut one)), (Poll::Ready(3), Poll::Ready(1)));
        assert_eq!(clerks.idle.borrow().len(), 2);
    }

    #[test]
    fn a_clerk_that_panics_serves_no_more() {
        let clerks = Clerks::new(|n: u32| async move { 10 / n });
        assert_eq!(poll(&mut clerks.serve(5)), Poll::Ready(2));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut clerks.serve(0)))).is_err());
        assert!(clerks.idle.borrow().is_empty());
        assert_eq!(poll(&mut clerks.serve(2)), Poll::Ready(5));
    }
}
