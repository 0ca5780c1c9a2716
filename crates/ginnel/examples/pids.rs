//! The numbers of this process and of its parent.
//!
//! ```text
//! cargo run --release -p ginnel --example pids
//! ```

fn main() {
    println!("{}", std::process::id());
    println!("{}", std::os::unix::process::parent_id());
}
