# Slicer writes the extension's description from these variables.
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is empty")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext" "${name} ${EXTENSION_${name}}\n")
endforeach()
