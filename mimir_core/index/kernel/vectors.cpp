// Cosines of a unit query with int8 rows, and the nearest rows by them.
//
// A scan rounds the query to 16 bits, which gives each score up to a known error by integers alone;
// the few rows that can be among the best are then scored in full. Where there are many rows,
// sketches choose which to scan: one bit a dimension, whether the code lies above the column's mean.
#include "arrays.hpp"

#include <cmath>

namespace {

constexpr uint32_t ERASED = 0xFFFFFFFF;
constexpr size_t LANES = 64;
constexpr size_t AHEAD = 8;  // rows fetched before they are needed, as they lie far apart
constexpr size_t PAGES = 768;  // words: the processor itself fetches no further than a page's end
constexpr size_t BITS = 64;
constexpr size_t SAMPLE = 8192;
constexpr size_t BLOCK = 32;

struct Column {
    const int8_t *codes;
    const float *scales;
    size_t rows;
    size_t dimension;
};

Column column_of(const Array<int8_t> &codes, const Array<float> &scales) {
    require(codes.dimensions() == 2 && scales.size() == codes.shape(0),
            "codes are [n, dimension] and scales [n]");
    return {codes.data(), scales.data(), codes.shape(0), codes.shape(1)};
}

const float *query_of(const Array<float> &query, const Column &column) {
    require(query.size() == column.dimension, "the query has the column's dimension");
    return query.data();
}

// A list of rows, or without a list all from `start` on.
struct Rows {
    const int64_t *list;
    size_t count;
    size_t start;

    INLINE size_t operator[](size_t at) const {
        return list ? static_cast<size_t>(list[at]) : start + at;
    }
};

INLINE void fetch_ahead(const Column &column, const Rows &rows, size_t at) {
    if (at + AHEAD >= rows.count) return;
    const int8_t *next = column.codes + rows[at + AHEAD] * column.dimension;
    for (size_t line = 0; line < column.dimension; line += 64) PREFETCH(next + line);
}

// Full scores: sums stand side by side and are added up in one order, so that equal rows score
// equally wherever they stand.
FOR_EACH_CPU
void score(const float *query, const Column &column, const Rows &rows, float *scores) {
    for (size_t at = 0; at < rows.count; ++at) {
        fetch_ahead(column, rows, at);
        const int8_t *codes = column.codes + rows[at] * column.dimension;
        float sums[LANES] = {};
        size_t place = 0;
        for (; place + LANES <= column.dimension; place += LANES)
            for (size_t lane = 0; lane < LANES; ++lane)
                sums[lane] += query[place + lane] * static_cast<float>(codes[place + lane]);
        for (size_t lane = 0; place < column.dimension; ++place, ++lane)
            sums[lane] += query[place] * static_cast<float>(codes[place]);
        for (size_t width = LANES / 2; width; width /= 2)
            for (size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
        scores[at] = sums[0] * column.scales[rows[at]];
    }
}

// The query as `step * codes`, up to `error` in any score: stored vectors have unit length
// (Cauchy-Schwarz). No sum of products with int8 codes leaves 32 bits.
struct Rounded {
    std::vector<int16_t> codes;
    float step = 0;
    float error = 0;

    Rounded(const float *query, size_t dimension) : codes(dimension) {
        float peak = 0;
        for (size_t at = 0; at < dimension; ++at) peak = std::max(peak, std::fabs(query[at]));
        if (!(peak > 0)) return;
        const double room = 2147483647.0 / (127.0 * static_cast<double>(dimension));
        step = peak / static_cast<float>(std::min(32767.0, std::floor(room)));
        double rest = 0;
        for (size_t at = 0; at < dimension; ++at) {
            codes[at] = static_cast<int16_t>(std::nearbyint(query[at] / step));
            const double lost = query[at] - static_cast<double>(step) * codes[at];
            rest += lost * lost;
        }
        error = static_cast<float>(std::sqrt(rest)) + 1e-5F;  // and the rounding of full scores
    }
};

FOR_EACH_CPU
void estimate(const Rounded &query, const Column &column, const Rows &rows, float *scores) {
    const int16_t *direction = query.codes.data();
    for (size_t at = 0; at < rows.count; ++at) {
        fetch_ahead(column, rows, at);
        const int8_t *codes = column.codes + rows[at] * column.dimension;
        int32_t sum = 0;
        for (size_t place = 0; place < column.dimension; ++place)
            sum += static_cast<int32_t>(direction[place]) * static_cast<int32_t>(codes[place]);
        scores[at] = static_cast<float>(sum) * query.step * column.scales[rows[at]];
    }
}

size_t words_of(size_t dimension) { return (dimension + BITS - 1) / BITS; }

template <class Code>
void sketch_of(const Code *codes, const int8_t *means, size_t dimension, uint64_t *sketch) {
    for (size_t word = 0; word < words_of(dimension); ++word) {
        const size_t first = word * BITS, last = std::min(first + BITS, dimension);
        uint64_t bits = 0;
        for (size_t at = first; at < last; ++at)
            bits |= static_cast<uint64_t>(codes[at] > static_cast<Code>(means[at])) << (at - first);
        sketch[word] = bits;
    }
}

// Scaled as stored vectors are, so that the query's own row has the query's sketch.
std::vector<uint64_t> query_sketch(const float *query, const int8_t *means, size_t dimension) {
    float peak = 0;
    for (size_t at = 0; at < dimension; ++at) peak = std::max(peak, std::fabs(query[at]));
    std::vector<float> codes(dimension);
    for (size_t at = 0; at < dimension; ++at) codes[at] = std::nearbyint(query[at] / peak * 127);
    std::vector<uint64_t> found(words_of(dimension));
    sketch_of(codes.data(), means, dimension, found.data());
    return found;
}

template <size_t WORDS>
INLINE void count_bits(const uint64_t *sketches, size_t words, const Rows &rows,
                       const uint64_t *sketch, uint16_t *differ) {
    const size_t width = WORDS ? WORDS : words;
    for (size_t at = 0; at < rows.count; ++at) {
        const uint64_t *row = sketches + rows[at] * width;
        PREFETCH(row + PAGES);
        int bits = 0;
        for (size_t word = 0; word < width; ++word) bits += ONES(row[word] ^ sketch[word]);
        differ[at] = static_cast<uint16_t>(bits);
    }
}

// In how many bits the sketch of each row differs. A loop of known length is twice as fast, so
// the built-in model's 384 dimensions have one of their own.
FOR_EACH_CPU
void differences(const uint64_t *sketches, size_t words, const Rows &rows, const uint64_t *sketch,
                 uint16_t *differ) {
    if (words == 6)
        count_bits<6>(sketches, words, rows, sketch, differ);
    else
        count_bits<0>(sketches, words, rows, sketch, differ);
}

// Up to how many differing bits some `count` rows lie; of very many rows a sample says it.
size_t bar_for(const std::vector<uint16_t> &differ, size_t bits, size_t count) {
    const size_t step = std::max<size_t>(1, differ.size() / SAMPLE);
    std::vector<size_t> histogram(bits + 1);
    for (size_t at = 0; at < differ.size(); at += step) ++histogram[differ[at]];
    size_t bar = 0, within = histogram[0];
    while (within * step < count) within += histogram[++bar];
    return bar;
}

// Positions up to the bar. Most blocks hold none, which is seen at once.
FOR_EACH_CPU
void within(const uint16_t *differ, size_t count, size_t bar, std::vector<int64_t> &found) {
    for (size_t first = 0; first < count; first += BLOCK) {
        const size_t last = std::min(first + BLOCK, count);
        uint16_t least = differ[first];
        for (size_t at = first; at < last; ++at) least = std::min(least, differ[at]);
        for (size_t at = first; least <= bar && at < last; ++at)
            if (differ[at] <= bar) found.push_back(static_cast<int64_t>(at));
    }
}

// The rows whose sketches are among the `count` nearest, more or less.
std::vector<int64_t> candidates(const Rows &rows, const uint64_t *sketches,
                                const std::vector<uint64_t> &sketch, size_t count) {
    static thread_local std::vector<uint16_t> differ;  // fresh pages for each query cost more
    differ.resize(rows.count);
    differences(sketches, sketch.size(), rows, sketch.data(), differ.data());
    std::vector<int64_t> found;
    found.reserve(2 * count);
    within(differ.data(), rows.count, bar_for(differ, sketch.size() * BITS, count), found);
    for (int64_t &place : found) place = static_cast<int64_t>(rows[static_cast<size_t>(place)]);
    return found;
}

// Rows from `start` on that somebody owns and that are allowed.
std::vector<int64_t> passing(size_t start, size_t stop, const uint32_t *owners,
                             const bool *allowed) {
    std::vector<int64_t> found;
    for (size_t row = start; row < stop; ++row)
        if ((!owners || owners[row] != ERASED) && (!allowed || allowed[row]))
            found.push_back(static_cast<int64_t>(row));
    return found;
}

// Of these rows, every one that can be among the k best.
std::vector<int64_t> likely(const float *query, const Column &column, const Rows &rows, size_t k) {
    const Rounded rounded(query, column.dimension);
    static thread_local std::vector<float> scores, order;
    scores.resize(rows.count);
    estimate(rounded, column, rows, scores.data());
    float bar = -2;
    if (k < rows.count) {
        order = scores;
        const auto last = order.begin() + static_cast<std::ptrdiff_t>(k - 1);
        std::nth_element(order.begin(), last, order.end(), std::greater<>());
        bar = *last - 2 * rounded.error;
    }
    std::vector<int64_t> found;
    for (size_t at = 0; at < rows.count; ++at)
        if (scores[at] >= bar) found.push_back(static_cast<int64_t>(rows[at]));
    return found;
}

// The k best of these rows by full scores, ties by row.
py::tuple best(const float *query, const Column &column, const std::vector<int64_t> &rows,
               size_t k) {
    std::vector<float> scores(rows.size());
    score(query, column, {rows.data(), rows.size(), 0}, scores.data());
    std::vector<Ranked> ranked;
    for (size_t at = 0; at < rows.size(); ++at) ranked.emplace_back(-scores[at], rows[at]);
    return best_of(ranked, k);
}

// As Python calls them

// Sums in double, where squares of float32 do not overflow. None: not finite, or zero.
std::optional<Array<float>> unit(const Array<float> &vector) {
    double squares = 0;
    for (size_t at = 0; at < vector.size(); ++at)
        squares += static_cast<double>(vector.data()[at]) * vector.data()[at];
    const double length = std::sqrt(squares);
    if (!(length > 0 && std::isfinite(length))) return std::nullopt;
    Array<float> found(vector.size());
    for (size_t at = 0; at < vector.size(); ++at)
        found.writable()[at] = static_cast<float>(vector.data()[at] / length);
    return found;
}

Array<float> scores(const Array<float> &query, const Array<int8_t> &codes,
                    const Array<float> &scales, const Array<int64_t> &rows) {
    const Column column = column_of(codes, scales);
    for (size_t at = 0; at < rows.size(); ++at)
        require(rows.data()[at] >= 0 && static_cast<size_t>(rows.data()[at]) < column.rows,
                "no such row");
    Array<float> found(rows.size());
    score(query_of(query, column), column, {rows.data(), rows.size(), 0}, found.writable());
    return found;
}

Array<float> cosines(const Array<float> &query, const Array<int8_t> &codes,
                     const Array<float> &scales, const Array<uint32_t> &owners,
                     const Array<int64_t> &first, const Array<int64_t> &ordinals) {
    const Column column = column_of(codes, scales);
    require(owners.size() == column.rows, "owners are [n]");
    std::vector<int64_t> rows;
    std::vector<size_t> whose;
    for (size_t at = 0; at < ordinals.size(); ++at) {
        const auto ordinal = static_cast<size_t>(ordinals.data()[at]);  // below zero: beyond any
        if (ordinal >= first.size() || first.data()[ordinal] < 0) continue;
        auto row = static_cast<size_t>(first.data()[ordinal]);
        for (; row < column.rows && owners.data()[row] == ordinal; ++row) {
            rows.push_back(static_cast<int64_t>(row));
            whose.push_back(at);
        }
    }
    std::vector<float> scores(rows.size());
    score(query_of(query, column), column, {rows.data(), rows.size(), 0}, scores.data());
    Array<float> found(ordinals.size());
    std::fill_n(found.writable(), found.size(), -1.0F);
    for (size_t at = 0; at < rows.size(); ++at)
        found.writable()[whose[at]] = std::max(found.writable()[whose[at]], scores[at]);
    return found;
}

std::pair<double, double> moments(const Array<float> &query, const Array<int8_t> &codes,
                                  const Array<float> &scales) {
    const Column column = column_of(codes, scales);
    std::vector<float> found(column.rows);
    const Rounded rounded(query_of(query, column), column.dimension);
    estimate(rounded, column, {nullptr, column.rows, 0}, found.data());
    double sum = 0, squares = 0;
    for (const float score : found) {
        sum += score;
        squares += static_cast<double>(score) * score;
    }
    const double count = static_cast<double>(std::max<size_t>(column.rows, 1));
    const double mean = sum / count;
    return {mean, squares / count - mean * mean};
}

void sketch(const Array<int8_t> &codes, const Array<int8_t> &means, Array<uint64_t> &sketches) {
    require(codes.dimensions() == 2 && means.size() == codes.shape(1),
            "codes are [n, dimension] and means [dimension]");
    const size_t rows = codes.shape(0), dimension = codes.shape(1), words = words_of(dimension);
    require(sketches.size() == rows * words, "sketches are [n, words]");
    for (size_t row = 0; row < rows; ++row)
        sketch_of(codes.data() + row * dimension, means.data(), dimension,
                  sketches.writable() + row * words);
}

py::tuple nearest(const Array<float> &query, Count k, const Array<int8_t> &codes,
                  const Array<float> &scales, const std::optional<Array<uint32_t>> &owners,
                  const std::optional<Array<bool>> &allowed, Count start,
                  const std::optional<Array<uint64_t>> &sketches,
                  const std::optional<Array<int8_t>> &means, Count count) {
    const Column column = column_of(codes, scales);
    const float *direction = query_of(query, column);
    require(k > 0 && start <= column.rows, "k is above 0 and start lies within the column");
    require(!owners || owners->size() == column.rows, "owners are [n]");
    require(!allowed || allowed->size() == column.rows, "allowed is [n]");
    std::vector<int64_t> listed;
    Rows rows{nullptr, column.rows - start, start};
    if (owners || allowed) {
        listed = passing(start, column.rows, owners ? owners->data() : nullptr,
                         allowed ? allowed->data() : nullptr);
        rows = {listed.data(), listed.size(), 0};
    }
    if (sketches && rows.count > 2 * count) {
        require(means && means->size() == column.dimension &&
                    sketches->size() >= column.rows * words_of(column.dimension),
                "sketches are [n, words] and means [dimension]");
        const auto bits = query_sketch(direction, means->data(), column.dimension);
        listed = candidates(rows, sketches->data(), bits, count);
        rows = {listed.data(), listed.size(), 0};
    }
    return best(direction, column, likely(direction, column, rows, k), k);
}

}  // namespace

void bind_vectors(py::module_ &module) {
    module.def("unit", &unit);
    module.def("scores", &scores);
    module.def("cosines", &cosines);
    module.def("moments", &moments);
    module.def("sketch", &sketch);
    module.def("nearest", &nearest);
}
