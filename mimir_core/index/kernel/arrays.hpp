// What the kernel's files share: numpy arrays as arguments, and loops compiled for several CPUs.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace py = pybind11;

// Loops marked so exist twice, and the loader picks the one that this CPU can run: with AVX2 or
// without. Elsewhere the compiler's baseline has to do.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))  // or it is compiled for the baseline
#define PREFETCH(address) __builtin_prefetch(address)
#define ONES(word) __builtin_popcountll(word)
#else
#define INLINE inline
#define PREFETCH(address)
#define ONES(word) static_cast<int>(__popcnt64(word))
#endif

// A C-contiguous array of exactly this type; nothing is converted.
template <class T>
class Array {
public:
    Array() = default;
    explicit Array(py::array_t<T, py::array::c_style> held) : held_(std::move(held)) {}
    explicit Array(size_t count) : held_(static_cast<py::ssize_t>(count)) {}

    size_t size() const { return static_cast<size_t>(held_.size()); }
    size_t dimensions() const { return static_cast<size_t>(held_.ndim()); }
    size_t shape(size_t axis) const { return static_cast<size_t>(held_.shape(axis)); }
    const T *data() const { return held_.data(); }
    T *writable() { return held_.mutable_data(); }
    py::handle handle() const { return held_; }

private:
    py::array_t<T, py::array::c_style> held_;
};

// A whole number, or a real one. What does not fit is refused here: pybind11's own complaint
// would show the arguments, vectors among them.
template <class T>
struct Number {
    T value = 0;
    operator T() const { return value; }
};

namespace pybind11::detail {

template <class T>
struct type_caster<Array<T>> {
    PYBIND11_TYPE_CASTER(Array<T>, const_name("numpy.ndarray"));
    bool load(handle source, bool) {
        using Held = array_t<T, array::c_style>;
        if (!Held::check_(source)) throw type_error("not an array of the right kind");
        value = Array<T>(reinterpret_borrow<Held>(source));
        return true;
    }
    static handle cast(const Array<T> &source, return_value_policy, handle) {
        return source.handle().inc_ref();
    }
};

template <class T>
struct type_caster<Number<T>> {
    PYBIND11_TYPE_CASTER(Number<T>, const_name("number"));
    bool load(handle source, bool) {
        make_caster<T> inner;
        if (!inner.load(source, true)) throw type_error("not such a number");
        value.value = cast_op<T>(inner);
        return true;
    }
};

}  // namespace pybind11::detail

using Count = Number<size_t>;
using Real = Number<double>;

// Raises ValueError. Callers check what users give; this keeps a mistake of theirs out of memory.
inline void require(bool holds, const char *what) {
    if (!holds) throw std::invalid_argument(what);
}

template <class T>
Array<T> array_of(const std::vector<T> &values) {
    Array<T> array(values.size());
    std::copy(values.begin(), values.end(), array.writable());
    return array;
}

// What is ranked, its score negated, so that the order of pairs is the order of ranks.
using Ranked = std::pair<float, int64_t>;

// The k best as arrays of numbers and scores; ties by number.
inline py::tuple best_of(std::vector<Ranked> &ranked, size_t k) {
    const size_t count = std::min(k, ranked.size());
    std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(count),
                      ranked.end());
    Array<int64_t> numbers(count);
    Array<float> scores(count);
    for (size_t at = 0; at < count; ++at) {
        scores.writable()[at] = -ranked[at].first;
        numbers.writable()[at] = ranked[at].second;
    }
    return py::make_tuple(numbers, scores);
}

void bind_vectors(py::module_ &module);
void bind_terms(py::module_ &module);
void bind_ranking(py::module_ &module);
