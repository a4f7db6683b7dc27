//! Finding `id`, `method`, `params`, `result` and `error` in one Stratum line, and writing lines.
//!
//! The scan builds no tree and allocates nothing: it yields spans of the line. It checks as much as
//! is needed to split the line for certain; what stands inside a nested value is only matched up to
//! its closing bracket, because pools do send values that are not quite JSON and a proxy has no need
//! to understand them. Knows nothing of any method.
//!
//! [`Raw`] and [`Line`] are spans that a session keeps, in a form that can be saved.

mod raw;
mod scan;
mod value;
mod write;

pub use raw::{Line, Raw};
pub use scan::{MAX_DEPTH, Message, ScanError, member, scan};
pub use value::{
    Elements, Members, elements, error_parts, is_fit_id, is_json, is_null, is_truthy, members,
    number, string, text, unsigned,
};
pub use write::{
    write_error, write_notification, write_reply, write_request, write_request_start, write_string,
};
