// How Winograd's algorithms for 3x3 convolutions cut a map into work, and when they are worth it.
//
// A map is covered by square tiles of y. A unit is a strip of whole tile rows of one image (one part of the
// moments); a batch is a run of units, cut so that its transformed tiles stay in the second level cache. A task is one
// batch and a group of pairs of channel blocks of y; a thread that has several groups of a batch transforms x once.
#pragma once

#include "kernels/args.hpp"
#include "kernels/strips.hpp"

namespace slimneck::kernels {

/// One of the algorithms. Transformed tiles of x are planes V, those of y planes of sums M; a slice is a product that
/// is left of the convolution: one matrix of weights, one plane of V, one sum.
struct WinogradForm {
  index_t y_tile, x_tile;  ///< pixels of a row of y, of x from tile to tile
  index_t planes, sums, slices;
};

/// F(MxM, 3x3) of stride 1, either direction: a sum has one slice.
constexpr WinogradForm winograd4{4, 4, 36, 36, 36}, winograd2{2, 2, 16, 16, 16};
/// F(4x4, 3x3) of the phases of a plain picture, 6x6 taps of stride 2.
constexpr WinogradForm winograd4_stem{4, 8, 36, 36, 36};
/// F(MxM, 2x2) of the four phases of x, stride 2: they share their sums.
constexpr WinogradForm winograd4s2{4, 8, 81, 25, 81}, winograd2s2{2, 4, 25, 9, 25};
/// The gradient of their data: one tile of dy makes four of dx.
constexpr WinogradForm winograd4s2_back{8, 4, 25, 81, 81}, winograd2s2_back{4, 2, 9, 25, 25};

struct WinogradPlan {
  index_t y_tile;
  index_t rows, columns;  ///< of tiles in an image
  index_t unit_rows;      ///< tile rows in a unit
  index_t strips;         ///< units in an image
  index_t units;          ///< in the call
  index_t batches;        ///< in the call
  index_t pairs;          ///< of channel blocks of y
  index_t groups;         ///< of pairs: tasks of a batch
  index_t block;          ///< floats from a block of channels to the next, in V and M
  index_t v_plane;        ///< floats from a plane of V to the next
  index_t m_plane;        ///< the same for M
  index_t v, scratch;     ///< floats of V, of V, M and what follows: for one thread
  index_t input;          ///< behind V and M: what makes V of a row of tiles of a plain picture
  bool far;               ///< the weights are larger than a second level cache
};

// Of plain code for kernel bodies and for winograd.cpp alike, hence with internal linkage.
namespace {

/// A plain picture of up to 3 channels is 12 channels of phases, in blocks of V.
constexpr index_t winograd_stem_blocks(index_t lanes) { return round_up_divide(12, lanes); }
/// Pixels of a phase that a row of tiles reads, in whole vectors of pairs.
constexpr index_t winograd_stem_pixels(index_t tiles, index_t lanes) {
  return round_up_divide(4 * tiles + 2, lanes / 2) * (lanes / 2);
}
/// Floats of a line of pairs of them, with V zeros before it and room to read the last vector from the border on.
constexpr index_t winograd_stem_line(index_t tiles, index_t lanes) {
  return lanes + 2 * winograd_stem_pixels(tiles, lanes);
}

}  // namespace

WinogradPlan winograd_plan(const WinogradForm& form, const ConvArgs& args, index_t lanes) noexcept;

/// ConvVariant's functions. A workspace serves as many threads as it was asked for; strips are whole rows of tiles.
bool winograd4_suits(const ConvArgs& args, index_t lanes);
bool winograd2_suits(const ConvArgs& args, index_t lanes);
bool winograd4_stem_suits(const ConvArgs& args, index_t lanes);
bool winograd_s2_suits(const WinogradForm& form, const ConvArgs& args, index_t lanes);
index_t winograd_strip(const WinogradForm& form, const ConvArgs& args, index_t lanes);
index_t winograd_weights(const WinogradForm& form, index_t o, index_t c);
index_t winograd_stem_weights(index_t o);
index_t winograd_workspace(const WinogradForm& form, const ConvArgs& args, index_t lanes, int threads);

/// The gradient of the weights sums over the tiles of all images, batch by batch. A task is a pair of blocks of y and a
/// block of x. Where there are few, the batches are cut into parts, each with its own sums; threads take runs of tasks.
struct WinogradGradPlan {
  index_t rows, columns;
  index_t tiles, batches;    ///< of all images
  index_t run;               ///< tiles that stay in one batch: of a plain picture a row of them
  index_t parts, tasks;      ///< tasks of each part
  index_t v_plane, g_plane;  ///< floats from a plane of the transformed x, dy to the next
  index_t g;                 ///< where those of dy begin
  index_t input;             ///< behind both: what makes those of a row of a plain picture
  index_t transformed;       ///< floats of all that
  index_t du_plane, du;      ///< of the sums of a task: from a slice to the next, and of all slices
  index_t sums;              ///< floats of all sums, with which the workspace begins; 0: each task ends its own
  index_t scratch;           ///< floats of a thread: transformed tiles, and the sums of a task where it ends them
  index_t workspace;
};

WinogradGradPlan winograd_grad_plan(const WinogradForm& form, const ConvGradArgs& args, index_t lanes,
                                    int threads = 1) noexcept;

/// ConvGradVariant's functions.
bool winograd4_grad_suits(const ConvGradArgs& args, index_t lanes);
bool winograd4_stem_grad_suits(const ConvGradArgs& args, index_t lanes);
bool winograd_s2_grad_suits(const WinogradForm& form, const ConvGradArgs& args, index_t lanes);
index_t winograd_grad_workspace(const WinogradForm& form, const ConvGradArgs& args, index_t lanes, int threads);

}  // namespace slimneck::kernels
