// BM25 over postings packed as `ordinal << 32 | length << 8 | count`.
#include "arrays.hpp"

#include <cmath>

namespace {

struct List {
    const uint64_t *postings;
    size_t count;
    std::vector<uint64_t> kept;  // where a mask leaves only some of them
};

// What a term adds to each memory that holds it.
FOR_EACH_CPU
void impacts(const uint64_t *postings, size_t count, float idf, float per_term, float base,
             float *found) {
    for (size_t at = 0; at < count; ++at) {
        const auto low = static_cast<uint32_t>(postings[at]);
        const auto tf = static_cast<float>(static_cast<int32_t>(low & 0xFF));
        const auto length = static_cast<float>(static_cast<int32_t>(low >> 8));
        found[at] = idf * (tf / (length * per_term + base + tf));
    }
}

uint32_t ordinal_of(uint64_t posting) { return static_cast<uint32_t>(posting >> 32); }

void keep(List &list, const Array<bool> &mask) {
    for (size_t at = 0; at < list.count; ++at)
        if (mask.data()[ordinal_of(list.postings[at])]) list.kept.push_back(list.postings[at]);
    list.postings = list.kept.data();
    list.count = list.kept.size();
}

std::vector<List> lists_of(const std::vector<py::buffer_info> &buffers, size_t extent,
                           const std::optional<Array<bool>> &mask) {
    std::vector<List> lists;
    for (const auto &buffer : buffers) {
        List list{static_cast<const uint64_t *>(buffer.ptr), static_cast<size_t>(buffer.size), {}};
        // postings ascend, so the last one has the highest ordinal
        require(!list.count || ordinal_of(list.postings[list.count - 1]) < extent, "no such ordinal");
        if (mask) keep(list, *mask);
        lists.push_back(std::move(list));
    }
    return lists;
}

py::tuple bm25(const py::object &postings, const std::optional<Array<bool>> &mask, Count documents,
               Real average_length, Real k1, Real b, Count k, Array<float> &totals) {
    const size_t extent = totals.size();
    require(!mask || mask->size() <= extent, "totals cover the mask");
    std::vector<py::buffer_info> buffers;
    for (const auto &each : postings.cast<std::vector<py::buffer>>()) {
        buffers.push_back(each.request());
        require(buffers.back().itemsize == sizeof(uint64_t), "postings are 64 bits each");
    }
    auto lists = lists_of(buffers, mask ? mask->size() : extent, mask);
    size_t size = 0;
    for (const auto &list : lists) size += list.count;
    std::vector<float> found(size);
    std::vector<int64_t> touched;
    float *total = totals.writable(), *part = found.data();
    const double norm = k1 * b / average_length;
    double sum = 0, squares = 0;
    for (const auto &list : lists) {
        const auto frequency = static_cast<double>(list.count);
        const double idf = std::log1p(
            (static_cast<double>(documents.value) - frequency + 0.5) / (frequency + 0.5));
        impacts(list.postings, list.count, static_cast<float>(idf), static_cast<float>(norm),
                static_cast<float>(k1 * (1 - b)), part);
        for (size_t at = 0; at < list.count; ++at) {
            const uint32_t ordinal = ordinal_of(list.postings[at]);
            if (total[ordinal] == 0) touched.push_back(ordinal);
            total[ordinal] += part[at];
            sum += part[at];
        }
        part += list.count;
    }
    std::vector<Ranked> ranked;
    for (const int64_t ordinal : touched) {
        ranked.emplace_back(-total[ordinal], ordinal);
        squares += static_cast<double>(total[ordinal]) * total[ordinal];
    }
    return py::make_tuple(best_of(ranked, k), sum, squares, array_of(touched));
}

}  // namespace

void bind_terms(py::module_ &module) { module.def("bm25", &bm25); }
