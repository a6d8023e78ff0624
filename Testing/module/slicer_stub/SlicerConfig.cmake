# A Slicer that only packages: find_package(Slicer) finds this file. The macros in UseSlicer.cmake handle a module's
# files as Slicer's and CTK's do: they refuse listed files that do not exist, put scripts and resources under
# qt-scripted-modules and install that folder as a whole.
set(Slicer_FOUND TRUE)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_CLIMODULES_LIB_DIR "lib/Slicer-5.12/cli-modules")
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/CPack.cmake")
