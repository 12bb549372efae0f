#define MICROPY_HW_BOARD_NAME "Peilmerk ESP32 with a ROM file system"
#define MICROPY_HW_MCU_NAME "ESP32"
#define MICROPY_VFS_ROM (1)
