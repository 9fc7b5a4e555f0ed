from jaxtyping import install_import_hook
hook = install_import_hook(["reenact.geometry.crop","reenact.geometry.mesh_map","reenact.geometry.mean_face", "reenact.geometry.rotation","reenact.retarget","reenact.models","reenact.perception"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
