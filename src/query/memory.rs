//! The memory of one statement (sql.md 8).
//!
//! Duty: [`StatementPool`], the share of the query pool that a statement may hold, and [`Account`], by which functions
//! charge it for what they make: the engine counts what operators keep, but not what scalar functions allocate.
//! Guarantee: what a statement's operators keep and its charged functions have made stays below its share; each value
//! is given back when the last array over it is dropped. Left to others: caps of one value and one call
//! (`functions::capped`), spilling (the engine).

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, AsArray, GenericBinaryArray, GenericListArray, GenericStringArray, OffsetSizeTrait, StringViewArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::ColumnarValue;

/// Smallest share of a statement, in bytes.
const SMALLEST_SHARE: usize = 64 << 20;
/// Results up to so many bytes are not charged: of all calls that a statement may have they are a small part of it.
const FREE_BYTES: usize = 16 << 10;

/// What one statement holds of the pool of all: at most 64 MiB or a quarter of it, whichever is more.
#[derive(Debug)]
pub struct StatementPool {
    shared: Arc<dyn MemoryPool>,
    share: usize,
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl StatementPool {
    fn new(shared: Arc<dyn MemoryPool>) -> Self {
        let share = match shared.memory_limit() {
            MemoryLimit::Finite(bytes) => SMALLEST_SHARE.max(bytes / 4).min(bytes),
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        Self { shared, share, held: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    fn note_peak(&self) {
        self.peak.fetch_max(self.held.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The most bytes that the statement of `pool` held at once, as far as they are counted; `None` for any other pool.
pub fn peak(pool: &Arc<dyn MemoryPool>) -> Option<u64> {
    let pool: &dyn Any = pool.as_ref();
    let pool: &StatementPool = pool.downcast_ref()?;
    Some(pool.peak.load(Ordering::Relaxed) as u64)
}

/// `engine` with a pool of its own for one statement; all else is shared.
pub fn of_statement(engine: &RuntimeEnv) -> Arc<RuntimeEnv> {
    Arc::new(RuntimeEnv {
        memory_pool: Arc::new(StatementPool::new(engine.memory_pool.clone())),
        disk_manager: engine.disk_manager.clone(),
        cache_manager: engine.cache_manager.clone(),
        object_store_registry: engine.object_store_registry.clone(),
    })
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes for a statement, of {}", self.reserved(), self.share, self.shared)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held.fetch_add(additional, Ordering::Relaxed);
        self.note_peak();
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held.fetch_sub(shrink, Ordering::Relaxed);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let within = |held: usize| held.checked_add(additional).filter(|held| *held <= self.share);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|held| {
            resources_datafusion_err!("{additional} bytes more than {held} are over the {} of a statement", self.share)
        })?;
        self.shared.try_grow(reservation, additional).inspect_err(|_| {
            self.held.fetch_sub(additional, Ordering::Relaxed);
        })?;
        self.note_peak();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.share)
    }
}

/// Where functions of one statement charge what they make; cheap to clone.
#[derive(Clone)]
pub struct Account {
    pool: Arc<dyn MemoryPool>,
    /// Of constants: they live in the plan.
    constants: Arc<Mutex<Vec<MemoryReservation>>>,
}

impl Account {
    /// An account with `pool`.
    pub fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self { pool: pool.clone(), constants: Arc::default() }
    }

    /// Calls `make`, whose result has about `bytes` bytes, and charges it until it is dropped.
    ///
    /// `bytes` are charged before the call, what they really are (as `size` says) after it. Errors: that of `make`, and
    /// `ResourcesExhausted` where the statement would hold more than its share.
    pub fn charged(
        &self,
        function: &str,
        bytes: u64,
        size: impl Fn(&ArrayRef) -> u64,
        make: impl FnOnce() -> Result<ColumnarValue>,
    ) -> Result<ColumnarValue> {
        let expected = usize::try_from(bytes).unwrap_or(usize::MAX);
        let reserve = |bytes| {
            let reservation = MemoryConsumer::new(format!("function {function}")).register(&self.pool);
            reservation.try_grow(bytes).map(|()| reservation)
        };
        let ahead = if expected > FREE_BYTES { Some(reserve(expected)?) } else { None };
        let made = make()?;
        let array = match &made {
            ColumnarValue::Array(array) => array.clone(),
            ColumnarValue::Scalar(value) if value.data_type().is_numeric() => return Ok(made),
            ColumnarValue::Scalar(value) => value.to_array()?,
        };
        let actual = usize::try_from(size(&array)).unwrap_or(usize::MAX);
        if actual <= FREE_BYTES {
            return Ok(made);
        }
        let reservation = match ahead {
            Some(reservation) => {
                reservation.try_resize(actual)?;
                reservation
            }
            None => reserve(actual)?,
        };
        match made {
            ColumnarValue::Array(_) => Ok(ColumnarValue::Array(with_owner(array, reservation)?)),
            ColumnarValue::Scalar(_) => {
                self.constants.lock().expect("no holder of this lock panics").push(reservation);
                Ok(made)
            }
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account")
    }
}

/// Functions that differ by their account alone are the same function.
impl PartialEq for Account {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Account {}

impl Hash for Account {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Bytes with what was charged for them.
struct Charged {
    bytes: Buffer,
    _until_dropped: MemoryReservation,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn owned(bytes: Buffer, reservation: MemoryReservation) -> Buffer {
    Buffer::from(bytes::Bytes::from_owner(Charged { bytes, _until_dropped: reservation }))
}

/// `array`, a buffer of which carries the reservation; of a type without such a buffer, as it is.
fn with_owner(array: ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8 => text::<i32>(&array, reservation)?,
        DataType::LargeUtf8 => text::<i64>(&array, reservation)?,
        DataType::Binary => binary::<i32>(&array, reservation)?,
        DataType::LargeBinary => binary::<i64>(&array, reservation)?,
        DataType::Utf8View => {
            let (views, buffers, nulls) = array.as_string_view().clone().into_parts();
            let count = views.len();
            let views = ScalarBuffer::new(owned(views.into_inner(), reservation), 0, count);
            Arc::new(StringViewArray::try_new(views, buffers, nulls)?)
        }
        DataType::List(_) => list::<i32>(&array, reservation)?,
        DataType::LargeList(_) => list::<i64>(&array, reservation)?,
        _ => array,
    })
}

fn text<O: OffsetSizeTrait>(array: &ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef> {
    let (offsets, bytes, nulls) = array.as_string::<O>().clone().into_parts();
    Ok(Arc::new(GenericStringArray::<O>::try_new(offsets, owned(bytes, reservation), nulls)?))
}

fn binary<O: OffsetSizeTrait>(array: &ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef> {
    let (offsets, bytes, nulls) = array.as_binary::<O>().clone().into_parts();
    Ok(Arc::new(GenericBinaryArray::<O>::try_new(offsets, owned(bytes, reservation), nulls)?))
}

fn list<O: OffsetSizeTrait + ArrowNativeType>(array: &ArrayRef, reservation: MemoryReservation) -> Result<ArrayRef> {
    let (field, offsets, values, nulls) = array.as_list::<O>().clone().into_parts();
    let count = offsets.len();
    let offsets = ScalarBuffer::<O>::new(owned(offsets.into_inner().into_inner(), reservation), 0, count);
    Ok(Arc::new(GenericListArray::<O>::try_new(field, OffsetBuffer::new(offsets), values, nulls)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringArray};
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    fn made(account: &Account, array: ArrayRef) -> Result<ArrayRef> {
        let size = |array: &ArrayRef| array.get_array_memory_size() as u64;
        let value = account.charged("f", size(&array), size, || Ok(ColumnarValue::Array(array.clone())))?;
        value.into_array(array.len())
    }

    fn texts() -> StringArray {
        (0..1000).map(|row| (row % 7 != 0).then(|| format!("text {row} {}", "é".repeat(50)))).collect()
    }

    #[test]
    fn an_array_is_charged_until_its_last_slice_is_dropped_and_stays_what_it_is() {
        let texts = texts();
        let cast = |of: &DataType| arrow::compute::cast(&texts, of).unwrap();
        let lists = ScalarBuffer::<i32>::from((0..=10).map(|at| at * 100).collect::<Vec<i32>>());
        let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true));
        let list = GenericListArray::<i32>::new(item, OffsetBuffer::new(lists), Arc::new(texts.clone()), None);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(texts.clone()),
            cast(&DataType::LargeUtf8),
            cast(&DataType::Utf8View),
            cast(&DataType::Binary),
            cast(&DataType::LargeBinary),
            Arc::new(list),
        ];
        for array in arrays {
            let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(Arc::new(GreedyMemoryPool::new(1 << 30))));
            let account = Account::of(&pool);
            let of = array.data_type().clone();
            let charged = made(&account, array.clone()).unwrap();
            assert_eq!(&charged, &array, "{of}");
            assert_eq!(pool.reserved(), array.get_array_memory_size(), "{of}");
            let slice = charged.slice(3, 2);
            drop(charged);
            assert_eq!(pool.reserved(), array.get_array_memory_size(), "{of}: a slice of it lives");
            drop(slice);
            assert_eq!(pool.reserved(), 0, "{of}");
        }
    }

    #[test]
    fn a_statement_holds_its_share_and_no_more_and_takes_from_all() {
        let shared: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(400 << 20));
        let mine: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(shared.clone()));
        assert!(matches!(mine.memory_limit(), MemoryLimit::Finite(bytes) if bytes == 100 << 20));
        let one = MemoryConsumer::new("one").register(&mine);
        one.try_grow(60 << 20).unwrap();
        let two = MemoryConsumer::new("two").register(&mine);
        let error = two.try_grow(41 << 20).unwrap_err();
        assert!(matches!(error, datafusion::common::DataFusionError::ResourcesExhausted(_)), "{error}");
        two.try_grow(40 << 20).unwrap();
        assert_eq!((mine.reserved(), shared.reserved()), (100 << 20, 100 << 20));
        // Others have what is left of the whole.
        let others = MemoryConsumer::new("others").register(&shared);
        others.try_grow(300 << 20).unwrap();
        drop(two);
        others.try_grow(40 << 20).unwrap();
        assert!(one.try_grow(1).is_err(), "the pool of all is full");
        assert_eq!(mine.reserved(), 60 << 20, "what was refused is not held");
        drop(one);
        assert_eq!((mine.reserved(), shared.reserved()), (0, 340 << 20));
        let small = StatementPool::new(Arc::new(GreedyMemoryPool::new(10 << 20)));
        assert_eq!(small.share, 10 << 20, "never more than there is");
    }

    #[test]
    fn what_does_not_fit_is_not_made() {
        let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(Arc::new(GreedyMemoryPool::new(1 << 20))));
        let account = Account::of(&pool);
        let outcome = account.charged("f", 2 << 20, |_| 0, || panic!("it was made"));
        assert!(outcome.is_err());
        // A guess that was too low is found afterwards.
        let array: ArrayRef = Arc::new(texts());
        let outcome = account.charged("f", 0, |_| 2 << 20, || Ok(ColumnarValue::Array(array.clone())));
        assert!(outcome.is_err());
        assert_eq!(pool.reserved(), 0);
    }
}
