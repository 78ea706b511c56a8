// The inner loops of recall. `_kernel.pyi` says what each function takes and returns.
#include "arrays.hpp"

PYBIND11_MODULE(_kernel, module) {
    module.doc() = "The inner loops of recall: nearest vectors, BM25, fusion, spreading along threads.";
    bind_vectors(module);
    bind_terms(module);
    bind_ranking(module);
}
