# One OBJECT library per instruction set, from the same kernel bodies. Which of them runs is decided at run time
# (src/kernels/dispatch.cpp), so the flags below touch these files only.
file(GLOB slimneck_kernel_bodies CONFIGURE_DEPENDS src/kernels/simd*.cpp src/kernels/*/simd*.cpp)

set(slimneck_isas scalar)
set(slimneck_isa_definitions "")
if(SLIMNECK_BUILD_FUZZERS)
  # Kernels see no bytes of files: the portable ones do.
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND slimneck_isas avx2 avx512)
  set(slimneck_isa_definitions SLIMNECK_X86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND slimneck_isas neon)
  set(slimneck_isa_definitions SLIMNECK_NEON)
endif()
set(flags_scalar "")
set(flags_avx2 -mavx2 -mfma)
set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma)
set(flags_neon "")

set(slimneck_isa_objects "")
foreach(isa ${slimneck_isas})
  set(target slimneck_kernels_${isa})
  add_library(${target} OBJECT ${slimneck_kernel_bodies})
  target_include_directories(${target} PRIVATE include ${PROJECT_BINARY_DIR}/include src)
  target_link_libraries(${target} PRIVATE slimneck_flags OpenMP::OpenMP_CXX)
  target_compile_options(${target} PRIVATE ${flags_${isa}})
  target_compile_definitions(${target} PRIVATE SN_ISA=${isa}
                                               $<$<NOT:$<BOOL:${BUILD_SHARED_LIBS}>>:SLIMNECK_STATIC>)
  if(isa STREQUAL "scalar")
    target_compile_definitions(${target} PRIVATE SN_PORTABLE)  # also where the machine has NEON
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON
                                             CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  list(APPEND slimneck_isa_objects $<TARGET_OBJECTS:${target}>)
endforeach()
