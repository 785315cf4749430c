//! How large values are.
//!
//! Duty: bytes of an array. Guarantee: of a slice only what it shows counts, not all that it is a slice of. Left to
//! others: limits.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::DataType;

/// Bytes that the values of `array` have of their own; views count what they show.
pub fn bytes_of(array: &ArrayRef) -> u64 {
    let of_list = |values: &ArrayRef, from: i64, to: i64| {
        let place = |offset: i64| usize::try_from(offset).expect("offsets are not negative");
        bytes_of(&values.slice(place(from), place(to) - place(from)))
    };
    let rows = array.len() as u64;
    match array.data_type() {
        DataType::Utf8View => {
            16 * rows + array.as_string_view().iter().flatten().map(|text| text.len() as u64).sum::<u64>()
        }
        DataType::BinaryView => {
            16 * rows + array.as_binary_view().iter().flatten().map(|bytes| bytes.len() as u64).sum::<u64>()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            4 * rows + of_list(list.values(), offsets[0].into(), offsets[list.len()].into())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            8 * rows + of_list(list.values(), offsets[0], offsets[list.len()])
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(bytes_of).sum(),
        // The values are shared.
        DataType::Dictionary(..) => 4 * rows,
        _ => array.to_data().get_slice_memory_size().map_or(16 * rows, |bytes| bytes as u64),
    }
}
