// Visibility of the public interface: everything else in a shared build is hidden.
#pragma once

#if defined(SLIMNECK_STATIC) || !defined(__GNUC__)
#define SLIMNECK_EXPORT
#else
#define SLIMNECK_EXPORT __attribute__((visibility("default")))
#endif
