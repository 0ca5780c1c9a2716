//! The parent of a crew and two of its workers, while the words of the crew are overwritten.
//!
//! The parent keeps to itself which trays are where, so what it reads and writes lies in the crew, whatever that says. What
//! is decoded may be nonsense.

use std::hint::black_box;

use ginnel::{Error, Manager, Message};
use ginnel_object::bridge::crew::{
    After, Bits, Crew, Deadline, End, Frame, Gen, Ledger, Mode, Order, Shape, Sitting, St, Tray, Trays,
};

use super::workers::{Op, SUBJECT, TIMEOUT, Worker, end};

/// Tasks that can be out.
const SLOTS: u32 = 16;

type Numbers = Vec<u64>;

fn shape() -> Shape {
    Shape { slots: SLOTS, seats: 4, tray_bytes: 32 << 10, is_timed: true, ..Shape::default() }
}

/// Where its trays begin, in words from its beginning: behind front, seats, hints and slots.
pub(super) const TRAYS: std::ops::Range<usize> = 2048..4096;

/// Makes the crew of a round.
pub(super) fn furnish(manager: &Manager) -> ginnel::Result<()> {
    manager.get_or_create_with::<Crew>(SUBJECT, shape()).map(drop)
}

/// What worker `index` does until its handle is given up.
pub(super) fn work(worker: &mut Worker<'_>, manager: &Manager, index: usize) {
    let Some(crew) = worker.note(Op::Open, || manager.get_or_create_with::<Crew>(SUBJECT, shape())) else {
        return;
    };
    match index {
        0 => lead(worker, &crew),
        _ => serve(worker, &crew, index as u32),
    }
    end(worker, crew);
}

/// What the parent of a pool knows in private.
struct Parent<'a> {
    crew: &'a Crew,
    ledger: Ledger,
    trays: Trays,
    serial: u32,
    out: [Option<Out>; SLOTS as usize],
}

struct Out {
    generation: Gen,
    kept: Option<Tray>,
    lent: Option<Tray>,
}

fn lead(worker: &mut Worker<'_>, crew: &Crew) {
    let (ledger, trays) = (crew.ledger(), Trays::new(crew));
    let mut parent = Parent { crew, ledger, trays, serial: crew.first_serial(), out: Default::default() };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let slot = worker.rng.below(u64::from(SLOTS)) as u32;
        let (draw, len) = (worker.rng.below(10), worker.rng.below(100));
        let is_out = parent.out[slot as usize].is_some();
        succeeded = match draw {
            _ if !is_out => worker.note(Op::Send, || parent.submit(slot, len, draw < 3)).is_some(),
            0..4 => worker.note(Op::Recv, || parent.take(slot)).is_some(),
            4 => worker.note(Op::EndLease, || parent.cancel(slot)).is_some(),
            5 => worker.note(Op::Lease, || parent.repair(slot)).is_some(),
            6 => worker.note(Op::Select, || parent.wait_hall()).is_some(),
            7 => worker.note(Op::Poll, || parent.wait(slot)).is_some(),
            8 => worker.note(Op::Look, || parent.look(slot)).is_some(),
            _ => worker.note(Op::Claim, || parent.doom(slot)).is_some(),
        };
    }
    end(worker, parent);
}

impl Parent<'_> {
    fn submit(&mut self, slot: u32, len: u64, is_chunk: bool) -> ginnel::Result<()> {
        let numbers: Numbers = (0..len).collect();
        let tray = self.trays.get(len as usize * 8);
        let mut packed = self.crew.pack(tray, |out| match is_chunk {
            true => numbers.iter().try_for_each(|number| number.put(out)),
            false => numbers.put(out),
        })?;
        if packed.wants().is_some() {
            packed.enclose(self.crew)?;
        }
        self.serial = self.serial.wrapping_add(1);
        let lent = self.trays.get(700);
        let order = Order {
            serial: self.serial,
            routine: 1,
            attempt: 0,
            items: len.max(1) as u32,
            is_chunk,
            is_timed: true,
            result: lent.as_ref(),
            bits: Bits::NONE,
        };
        let generation = Gen::of(self.serial);
        let kept = self.crew.submit(slot, &order, packed)?;
        self.out[slot as usize] = Some(Out { generation, kept, lent });
        if self.crew.hint(&mut self.ledger, slot, generation) {
            self.crew.wake();
        }
        Ok(())
    }

    /// Nothing of it is out any more.
    fn over(&mut self, slot: u32) -> Option<Tray> {
        let out = self.out[slot as usize].take()?;
        drop(out.kept);
        out.lent
    }

    fn generation(&self, slot: u32) -> Gen {
        self.out[slot as usize].as_ref().map_or(Gen::of(0), |out| out.generation)
    }

    fn take(&mut self, slot: u32) -> ginnel::Result<()> {
        let (lease, generation) = (self.crew.lease(slot), self.generation(slot));
        match lease.st {
            St::Done if lease.generation == generation => {}
            St::Free => {
                drop(self.over(slot));
                return Ok(());
            }
            _ => return Ok(()),
        }
        let rest = self.crew.remaining(slot);
        let lent = self.over(slot);
        let mut taken = self.crew.take(slot, generation, lent)?;
        black_box((taken.items().len(), taken.took_ns(), taken.carries(), rest?.len()));
        taken.leave_trays();
        match taken.end() {
            End::Value => taken.decode::<Numbers>().map(|numbers| drop(black_box(numbers))),
            _ => Ok(()),
        }
    }

    fn cancel(&mut self, slot: u32) -> ginnel::Result<()> {
        let cancelled = self.crew.cancel(slot, self.generation(slot));
        if cancelled == ginnel_object::bridge::crew::Cancelled::TakenBack {
            drop(self.over(slot));
        }
        Ok(())
    }

    /// As a supervisor after a death.
    fn repair(&mut self, slot: u32) -> ginnel::Result<()> {
        let (lease, generation) = (self.crew.lease(slot), self.generation(slot));
        if lease.st == St::Lost && slot.is_multiple_of(2) {
            let lent = self.out[slot as usize].as_mut().and_then(|out| out.lent.take());
            let taken = self.crew.salvage(slot, generation, lent);
            black_box(self.crew.remaining(slot)?.len());
            if self.crew.give_up(slot, generation) {
                drop(self.over(slot));
            }
            black_box(taken?.items().len());
        } else if lease.st == St::Ready || lease.st == St::Lost && self.crew.retry(slot, generation, 1) {
            self.crew.hint(&mut self.ledger, slot, generation);
        }
        Ok(())
    }

    fn wait(&self, slot: u32) -> ginnel::Result<()> {
        let (generation, deadline) = (self.generation(slot), Deadline::after(TIMEOUT));
        let over = self.crew.with_waiter(|waiter| self.crew.wait(waiter, slot, generation, deadline, || ()));
        black_box(over);
        Ok(())
    }

    fn wait_hall(&self) -> ginnel::Result<()> {
        let over = |slot: &u32| {
            let out = self.out[*slot as usize].as_ref();
            out.is_some_and(|out| !self.crew.want(*slot, out.generation, Bits::HALL))
        };
        let ready = |is_armed: bool| (0..SLOTS).filter(|_| is_armed).find(over);
        let deadline = Deadline::after(TIMEOUT);
        black_box(self.crew.with_waiter(|waiter| self.crew.wait_hall(waiter, deadline, 3, ready)));
        Ok(())
    }

    fn doom(&self, slot: u32) -> ginnel::Result<()> {
        let lease = self.crew.lease(slot);
        if let Some(owner) = lease.owner {
            black_box(self.crew.doom(slot, lease.generation, owner));
        }
        Ok(())
    }

    fn look(&self, slot: u32) -> ginnel::Result<()> {
        let crew = self.crew;
        black_box((crew.shape(), crew.done(), crew.progress(slot), crew.began(slot), crew.part(slot)));
        if let Some(seat) = crew.seat(slot % 4) {
            black_box((seat.word(), seat.slot(), seat.items(), seat.failed(), seat.busy_ns()));
            seat.set_coming();
        }
        crew.post_hall();
        crew.post_desk();
        let seen = crew.arm_desk();
        crew.sleep_desk(seen, Deadline::after(TIMEOUT));
        Ok(())
    }
}

/// Takes tasks, at a seat.
fn serve(worker: &mut Worker<'_>, crew: &Crew, seat: u32) {
    let Some(mut sitting) = worker.note(Op::Open, || crew.sit(seat, Mode::Sleep)) else { return };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let dies = worker.rng.below(50) == 0;
        succeeded = worker.note(Op::Serve, || run(&mut sitting, dies)).is_some();
    }
    end(worker, sitting);
}

fn run(sitting: &mut Sitting, dies: bool) -> Result<(), Error> {
    // Waits for a slice at most.
    let Some(mut frame) = sitting.next(|| true) else { return Ok(()) };
    let outcome = fill(&mut frame);
    if let Err(why) = &outcome {
        frame.failed(End::Undecodable, |out| why.put(out));
    }
    if dies {
        // As if it were killed here; its words stay.
        std::mem::forget(frame);
    } else if frame.commit() == After::Doomed {
        return Ok(());
    }
    outcome
}

fn fill(frame: &mut Frame<'_>) -> Result<(), Error> {
    black_box((frame.routine(), frame.serial(), frame.attempt(), frame.is_asked()));
    if frame.is_chunk() {
        frame.each(|bytes| u64::take(bytes).map(|number| number.wrapping_add(1)), u64::put);
        return Ok(());
    }
    let numbers = frame.input(Numbers::take)?;
    frame.value(|out| numbers.put(out))
}
