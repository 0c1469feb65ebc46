// How Winograd's algorithms F(MxM, 3x3) cut a map into work, and when they are worth it.
//
// A map is covered by tiles of M x M pixels of y. A unit is a strip of whole tile rows of one image (one part of the
// moments); a batch is a run of units, cut so that its transformed tiles stay in the second level cache. A task is one
// batch and a group of pairs of channel blocks of y; a thread that has several groups of a batch transforms x once.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

struct WinogradPlan {
  index_t m, points;      ///< M and (M + 2)^2
  index_t rows, columns;  ///< of tiles in an image
  index_t unit_rows;      ///< tile rows in a unit
  index_t strips;         ///< units in an image
  index_t units;          ///< in the call
  index_t batch_units;    ///< units in a batch
  index_t batches;        ///< in the call
  index_t pairs;          ///< of channel blocks of y
  index_t groups;         ///< of pairs: tasks of a batch
  index_t u_plane;        ///< floats from a point of the weights to the next
  index_t v_plane;        ///< floats from a point of the transformed x to the next
  index_t m_plane;        ///< the same for the products
  index_t scratch;        ///< floats for one thread
};

WinogradPlan winograd_plan(const ConvArgs& args, index_t lanes, index_t m) noexcept;

/// Floats from a point of the prepared weights to the next.
index_t winograd_weight_plane(index_t o, index_t c) noexcept;

/// ConvVariant's functions. A workspace serves as many threads as it was asked for; strips are whole rows of tiles.
bool winograd4_suits(const ConvArgs& args, index_t lanes);
bool winograd2_suits(const ConvArgs& args, index_t lanes);
index_t winograd4_strip(const ConvArgs& args, index_t lanes);
index_t winograd2_strip(const ConvArgs& args, index_t lanes);
index_t winograd4_weights(index_t o, index_t c, index_t taps);
index_t winograd2_weights(index_t o, index_t c, index_t taps);
index_t winograd4_workspace(const ConvArgs& args, index_t lanes, int threads);
index_t winograd2_workspace(const ConvArgs& args, index_t lanes, int threads);

/// The gradient of the weights sums over the tiles of all images, batch by batch. With few channels the batches are cut
/// into parts, each with its own sums; with many there are enough blocks of the sums to share out.
struct WinogradGradPlan {
  index_t points, rows, columns;
  index_t tiles, batches;    ///< of all images
  index_t parts;             ///< 0: blocks of the sums are shared out
  index_t v_plane, g_plane;  ///< floats from a point of the transformed x, dy to the next
  index_t du_plane, du;      ///< of the sums: from a point to the next, and of all points
  index_t scratch;           ///< floats of transformed tiles: for one thread with parts, else for all
  index_t sums;              ///< where the sums begin in the workspace; with parts they come first
  index_t workspace;
};

WinogradGradPlan winograd_grad_plan(const ConvGradArgs& args, index_t lanes, index_t m, int threads = 1) noexcept;

/// ConvGradVariant's functions.
bool winograd4_grad_suits(const ConvGradArgs& args, index_t lanes);
index_t winograd4_grad_workspace(const ConvGradArgs& args, index_t lanes, int threads);
index_t winograd2_grad_workspace(const ConvGradArgs& args, index_t lanes, int threads);

}  // namespace slimneck::kernels
