//! stub
#[derive(Debug, Clone, Copy)]
pub enum Exit {
    Good,
    Bad,
    Unavailable,
}
