//! What goes wrong in a member of the chain (rank 1).

/// What holds instead of a member that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The next member is asked, and in the end the stage's default holds.
    #[default]
    Skip,
    /// The request is refused: 503, or for a broadcast portion the IMS alone.
    FailClosed,
}
