// How Winograd's algorithms F(MxM, 3x3) cut a map into work, and when they are worth it.
//
// A map is covered by tiles of M x M pixels of y. A unit is a strip of whole tile rows of one image (one part of the
// moments); a batch is a run of units, cut so that its transformed tiles stay in the second level cache. A task is one
// batch and a group of pairs of channel blocks of y; a thread that has several groups of a batch transforms x once.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

struct WinogradPlan {
  index_t m, points;        ///< M and (M + 2)^2
  index_t rows, columns;    ///< of tiles in an image
  index_t unit_rows;        ///< tile rows in a unit
  index_t strips;           ///< units in an image
  index_t units;            ///< in the call
  index_t batch_units;      ///< units in a batch
  index_t batches;          ///< in the call
  index_t pairs;            ///< of channel blocks of y
  index_t groups;           ///< of pairs: tasks of a batch
  index_t u_plane;          ///< floats from a point of the weights to the next
  index_t v_plane;          ///< floats from a point of the transformed x to the next
  index_t m_plane;          ///< the same for the products
  index_t scratch;          ///< floats for one thread
};

WinogradPlan winograd_plan(const ConvArgs& args, index_t lanes, index_t m) noexcept;

/// Floats from a point of the prepared weights to the next.
index_t winograd_weight_plane(index_t o, index_t c) noexcept;

/// ConvVariant's functions.
index_t winograd4_strip(const ConvArgs& args, index_t lanes);
index_t winograd2_strip(const ConvArgs& args, index_t lanes);
index_t winograd4_weights(index_t o, index_t c, index_t taps);
index_t winograd2_weights(index_t o, index_t c, index_t taps);
index_t winograd4_workspace(const ConvArgs& args, index_t lanes, int threads);
index_t winograd2_workspace(const ConvArgs& args, index_t lanes, int threads);

}  // namespace slimneck::kernels
