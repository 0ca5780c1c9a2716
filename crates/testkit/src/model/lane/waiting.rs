//! The wait lines, and recovery, which ends by waking everybody.

use super::super::check::{Steps, Who};
use super::{At, Bug, CONSUMER, FLAGS, Lane, PRODUCER, Role, State};

impl Lane {
    /// The wait line, from both sides.
    pub(super) fn wait_or_post(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let side = k / 2;
        let actor = s.actors[k];
        let (mine, his) = if side == CONSUMER { (FLAGS[0], FLAGS[1]) } else { (FLAGS[1], FLAGS[0]) };
        let mut n = *s;
        let me = &mut n.actors[k];
        let late = self.bug == Bug::ClearAfterWake;
        let what = match actor.at {
            At::PostFence if actor.is_drained() || self.bug == Bug::NoPostFence => {
                me.at = At::PostFlag;
                "post: fence"
            }
            At::PostFlag => {
                let sleeps = actor.load(&s.memory, his) != 0;
                me.at = match (sleeps, late) {
                    (false, _) => At::Idle,
                    (true, false) => At::PostClear,
                    (true, true) => At::PostBump,
                };
                "post: look at the flag"
            }
            At::PostClear | At::PostClearLate if actor.has_room() => {
                me.store(his, 0);
                me.at = if late { At::Idle } else { At::PostBump };
                "post: flag = 0"
            }
            At::PostBump if actor.is_drained() => {
                me.at = At::PostWake;
                n.bump(1 - side);
                "post: seq += 1"
            }
            At::PostWake if actor.is_drained() => {
                me.at = if late { At::PostClearLate } else { At::Idle };
                n.wake(1 - side);
                "post: wake"
            }
            At::Arm if actor.has_room() => {
                me.store(mine, 1);
                me.at = At::ArmFence;
                "wait: flag = 1"
            }
            At::ArmFence if actor.is_drained() || self.bug == Bug::NoArmFence => {
                me.at = if self.bug == Bug::NoSecondLook { At::Sleep } else { At::LookAgain };
                "wait: fence"
            }
            At::LookAgain => {
                me.at = if self.ready(s, k) { At::Disarm } else { At::Sleep };
                me.moved &= self.bug != Bug::SeqAfterLook;
                "wait: look again"
            }
            At::Disarm if actor.has_room() => {
                me.store(mine, 0);
                me.at = At::Look;
                "wait: it is there, flag = 0"
            }
            At::Sleep if actor.is_drained() => {
                me.at = if actor.moved { At::Seq } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            At::Asleep if self.slices => {
                me.at = At::Seq;
                "wait: the slice ends"
            }
            _ => return,
        };
        out.add(Who::Process(k), what, n);
    }

    /// Recovery of actor `k`, whose lock the recoverer holds.
    pub(super) fn repair(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let (at, what) = match s.actors[k].at {
            At::Dead => (At::RepairRole, "takes the lock of the dead"),
            At::RepairRole => {
                let role = &mut n.roles[k / 2];
                if *role == Role::Held(k as u8) && self.bug != Bug::RoleStaysHeld {
                    *role = Role::Dead;
                }
                let wakes = self.bug != Bug::SilentRecovery;
                (if wakes { At::RepairBump } else { At::Reuse }, "role HELD(d) -> DEAD")
            }
            At::RepairBump => {
                n.bump(PRODUCER);
                n.bump(CONSUMER);
                (At::RepairWake, "seq += 1 on both lines")
            }
            At::RepairWake => {
                n.wake(PRODUCER);
                n.wake(CONSUMER);
                (At::Reuse, "wake on both lines")
            }
            _ if s.roles[k / 2] == Role::Held(k as u8) => {
                return out.violation(Who::Recoverer(k), "frees the id", "a role still names it");
            }
            _ => (At::Out, "the id is reusable"),
        };
        n.actors[k].at = at;
        out.add(Who::Recoverer(k), what, n);
    }
}
