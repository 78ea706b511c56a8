// From scores to an order: what scores are worth, and what they gain along the turns of threads.
#include "arrays.hpp"

#include <array>
#include <numeric>
#include <tuple>

namespace {

// The turn before, the one after, two before and two after; -1 none.
using Sides = std::array<int64_t, 4>;

struct Steps {
    const int32_t *previous;
    const int32_t *next;
    int64_t count;

    int64_t along(const int32_t *steps, int64_t from) const {
        const int64_t to = from < 0 ? -1 : steps[from];
        require(to < count, "a step leads out of the vault");
        return to < 0 ? -1 : to;
    }

    Sides around(int64_t ordinal) const {
        require(ordinal >= 0 && ordinal < count, "no such ordinal");
        const int64_t before = along(previous, ordinal), after = along(next, ordinal);
        return {before, after, along(previous, before), along(next, after)};
    }
};

Steps steps_of(const Array<int32_t> &previous, const Array<int32_t> &next) {
    require(previous.size() == next.size(), "steps back and forth are [n]");
    return {previous.data(), next.data(), static_cast<int64_t>(previous.size())};
}

// Where `wanted` stands in an ascending list, or would; the search widens from `from`, as turns of
// a thread mostly stand side by side.
const int64_t *near(const int64_t *first, const int64_t *last, const int64_t *from,
                    int64_t wanted) {
    const int64_t *low = from, *high = from;
    for (std::ptrdiff_t step = 1; low > first && *low > wanted; step *= 2)
        low -= std::min(step, low - first);
    for (std::ptrdiff_t step = 1; high < last && *high < wanted; step *= 2)
        high += std::min(step, last - high);
    return std::lower_bound(low, high, wanted);
}

Array<int64_t> pool(const py::object &named, const Array<int32_t> &previous,
                    const Array<int32_t> &next, const Array<bool> &allowed, bool spreading) {
    const Steps steps = steps_of(previous, next);
    require(allowed.size() == previous.size(), "allowed is [n]");
    std::vector<int64_t> found;
    for (const auto &ordinals : named.cast<std::vector<Array<int64_t>>>())
        found.insert(found.end(), ordinals.data(), ordinals.data() + ordinals.size());
    const size_t count = found.size();
    for (size_t at = 0; spreading && at < count; ++at)
        for (const int64_t side : steps.around(found[at]))
            if (side >= 0 && allowed.data()[side]) found.push_back(side);
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return array_of(found);
}

py::tuple spread(const Array<int64_t> &pool, const Array<float> &own,
                 const Array<int32_t> &previous, const Array<int32_t> &next,
                 const Array<uint32_t> &lengths, const Array<float> &shares, Real terse, Real strength) {
    const Steps steps = steps_of(previous, next);
    require(shares.size() == std::tuple_size_v<Sides>, "each side has a share");
    require(pool.size() == own.size() && pool.size() == lengths.size(),
            "every memory of the pool has a worth and a length");
    const int64_t *first = pool.data(), *last = first + pool.size();
    Array<float> gains(pool.size());
    Array<int64_t> sources(pool.size());
    for (size_t at = 0; at < pool.size(); ++at) {
        const Sides sides = steps.around(first[at]);
        float sum = 0, most = 0;
        int64_t source = -1;
        for (size_t side = 0; side < sides.size(); ++side) {
            const int64_t *place = near(first, last, first + at, sides[side]);
            if (place == last || *place != sides[side]) continue;
            const float gain = own.data()[place - first] * shares.data()[side];
            sum += gain;
            if (gain > most) most = gain, source = sides[side];
        }
        const double length = std::max<double>(lengths.data()[at], terse);
        gains.writable()[at] = sum * static_cast<float>(strength * terse / length);
        sources.writable()[at] = source;
    }
    return py::make_tuple(gains, sources);
}

Array<float> worth(const Array<float> &scores, Real mean, Real deviation, Real floor, Real slope,
                   Real curve) {
    Array<float> found(scores.size());
    for (size_t at = 0; at < scores.size(); ++at) {
        const double z = deviation > 0 ? (scores.data()[at] - mean) / deviation - floor : 0;
        found.writable()[at] = static_cast<float>(z > 0 ? z * (slope + curve * z) : 0);
    }
    return found;
}

Array<int64_t> order(const Array<float> &totals, const Array<float> &ties, Count count) {
    require(totals.size() == ties.size(), "what has a total has a tie");
    std::vector<int64_t> places(totals.size());
    std::iota(places.begin(), places.end(), 0);
    const auto before = [&](int64_t one, int64_t other) {
        return std::tuple(-totals.data()[one], -ties.data()[one], one) <
               std::tuple(-totals.data()[other], -ties.data()[other], other);
    };
    const size_t wanted = std::min<size_t>(count, places.size());
    const auto last = places.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::partial_sort(places.begin(), last, places.end(), before);
    places.resize(wanted);
    return array_of(places);
}

}  // namespace

void bind_ranking(py::module_ &module) {
    module.def("pool", &pool);
    module.def("spread", &spread);
    module.def("worth", &worth);
    module.def("order", &order);
}
