/* What the harness asks of functions that are static. */
void acrn_accept(struct acrn_vlapic *vlapic, u32 vector) { vlapic_accept_intr(vlapic, vector, false); }
void acrn_take_ops(const struct acrn_apicv_ops **ops)
{
    static const struct acrn_apicv_ops advanced = {apicv_advanced_accept_intr, apicv_advanced_inject_intr};
    *ops = &advanced;
}
