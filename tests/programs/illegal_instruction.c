/* Executes an instruction that does not exist. usk-test: status=132 */
int main(void) {
    __asm__ volatile("ud2");
    return 0;
}
