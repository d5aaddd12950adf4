from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("scheduler_app", "0005_bulk_operations")]

    operations = [
        migrations.AlterModelOptions(
            name="node",
            options={
                "default_permissions": ("view",),
                "ordering": ("-id",),
                "permissions": [("drain_node", "Can drain nodes")],
            },
        ),
    ]
